"""How large a window of the network may be in the memory there is."""

import re
from pathlib import Path

import torch

from lesionwise.control_groups import own_groups
from lesionwise.network import DOWNSAMPLING, PATCH_SIZE
from lesionwise.slabs import BYTES_PER_VOXEL

SHARE = 0.7
"""Share of the free memory that a window may take; other programs, and fragments, need some too."""

SMALLER_EDGES = (192, 160, 128, 96, PATCH_SIZE)

LIMIT_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Where a control group tells its limit and what it uses, and what `memory.stat` calls the part that is files that were
read: version 2, and version 1."""


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
    """Return the memory that can still be taken on a device, on a CPU within the limits of the control groups."""
    if device.type == "cuda":
        # What torch holds in its cache is free for the next case.
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return float(torch.cuda.mem_get_info(device)[0] + cached)
    free = [float("inf")]
    for line in _text(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemAvailable:"):
            free.append(1024 * float(line.split()[1]))
    for folder in own_groups("memory"):
        free += _room_in_group(folder)
    return min(free)


def _room_in_group(folder: Path) -> list[float]:
    """Return the bytes that a control group and those below it may still take, or nothing where it has no limit."""
    for limit_file, used_file, files in LIMIT_FILES:
        limit, used = (_text(folder / name).strip() for name in (limit_file, used_file))
        if limit.isdigit() and used.isdigit():
            # Files that were read stay in memory until it is wanted for something else, and count as used until then.
            unneeded = re.search(rf"^{files} (\d+)$", _text(folder / "memory.stat"), re.MULTILINE)
            return [float(limit) - float(used) + (float(unneeded[1]) if unneeded else 0)]
    return []


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
