"""How large a window of the network may be in the memory there is."""

import re
from pathlib import Path

import torch

from lesionwise.network import DOWNSAMPLING, PATCH_SIZE
from lesionwise.slabs import BYTES_PER_VOXEL

SHARE = 0.7
"""Share of the free memory that a window may take; other programs, and fragments, need some too."""

SMALLER_EDGES = (192, 160, 128, 96, PATCH_SIZE)

_GROUPS = Path("/sys/fs/cgroup")
CONTAINER_LIMITS = (
    (_GROUPS / "memory.max", _GROUPS / "memory.current", _GROUPS / "memory.stat"),
    (
        _GROUPS / "memory/memory.limit_in_bytes",
        _GROUPS / "memory/memory.usage_in_bytes",
        _GROUPS / "memory/memory.stat",
    ),
)
"""Where a container finds its limit, what it uses, and for what: control groups of version 2, and of version 1."""


def window_edges(shape: tuple[int, ...], room_voxels: float) -> list[int]:
    """Return the edges of windows of at most so many voxels, the largest first; never none.

    The first holds the whole volume (x, y, z) where that fits; the next ones are for when it did not fit after all.
    """
    whole = max(rounded_up(length) for length in shape)
    edges = [whole, *(edge for edge in SMALLER_EDGES if edge < whole)]
    fitting = [edge for edge in edges if _voxels(shape, edge) <= room_voxels]
    return fitting or edges[-1:]


def rounded_up(length: int) -> int:
    """Return the least multiple of `DOWNSAMPLING` that is not below a length in voxels."""
    return -(-length // DOWNSAMPLING) * DOWNSAMPLING


def room_voxels(device: torch.device, precision: torch.dtype) -> float:
    """Return how many voxels a window may have in the memory that is free on a device."""
    return SHARE * free_bytes(device) / BYTES_PER_VOXEL.get(precision, BYTES_PER_VOXEL[torch.bfloat16])


def free_bytes(device: torch.device) -> float:
    """Return the memory that can still be taken on a device, within the control group's limit on a CPU."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    free = [float("inf")]
    for line in _text(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemAvailable:"):
            free.append(1024 * float(line.split()[1]))
    for limit_file, used_file, use_file in CONTAINER_LIMITS:
        limit, used = _text(limit_file).strip(), _text(used_file).strip()
        if limit.isdigit() and used.isdigit():
            # Files that were read stay in memory until it is wanted for something else, and count as used until then.
            files = re.search(r"^(?:total_)?inactive_file (\d+)$", _text(use_file), re.MULTILINE)
            free.append(float(limit) - float(used) + (float(files[1]) if files else 0))
    return min(free)


def _voxels(shape: tuple[int, ...], edge: int) -> int:
    voxels = 1
    for length in shape:
        voxels *= min(edge, rounded_up(length))
    return voxels


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
