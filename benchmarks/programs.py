"""The program started as a user starts it, and what the kernel says it took."""

import contextlib
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from lesionwise.challenge_layout import TIME1, TIME2
from lesionwise.simulation.phantom import Phantom, make_phantom
from lesionwise.volume import on_grid, read_volume, write_image_like

SAMPLING_S = 0.05
BRAIN_MASK = "brain_mask.nii.gz"


@dataclass(frozen=True)
class Use:
    """What a process took: seconds, CPU seconds, the most memory that it held, and how many cores it could have kept busy.

    `cores` is the mean number of its threads that ran or waited for a core, so that a busy machine does not hide any.
    """

    seconds: float
    cpu_s: float
    peak_bytes: int
    cores: float


def lesionwise(*arguments: object) -> Use:
    """Run a command of the program to its end and return what it took. Raises SystemExit where it fails."""
    begin = time.perf_counter()
    process = subprocess.Popen(command(*arguments), stdout=subprocess.DEVNULL)
    ready, peak_bytes = [], 0
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        ready.append(ready_threads(process.pid))
        peak_bytes = max(peak_bytes, peak_memory_bytes(process.pid))
        time.sleep(SAMPLING_S)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"lesionwise {arguments[0]} failed")
    return Use(
        seconds=time.perf_counter() - begin,
        cpu_s=usage.ru_utime + usage.ru_stime,
        peak_bytes=peak_bytes,
        cores=sum(ready) / max(1, len(ready)),
    )


def command(*arguments: object) -> list[str]:
    """Return the command line of the program, with this Python."""
    return [sys.executable, "-m", "lesionwise.cli", *map(str, arguments)]


def peak_memory_bytes(pid: int | str) -> int:
    """Return the most memory that a process ("self": this one) held so far; 0 where it has ended.

    Not `ru_maxrss` of its end: the kernel counts in it what the parent held when it started the process.
    """
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    return 0


def ready_threads(pid: int) -> int:
    """Return how many threads of a process run or wait for a core at this moment."""
    states = []
    for file in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):  # ended meanwhile
            states.append(file.read_text().rpartition(") ")[2][0])
    return states.count("R")


@cache
def head() -> Phantom:
    """Return a synthetic head at 1 mm, always the same."""
    return make_phantom(1, 0)


def middle(image: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Return the block of a shape in the middle of an image (x, y, z)."""
    return image[
        tuple(
            slice((n - wanted) // 2, (n + wanted) // 2) for n, wanted in zip(image.shape, shape, strict=True)
        )
    ]


def write_block(folder: Path, shape: tuple[int, int, int]) -> None:
    """Write a block of the head, all of it brain, as a case in `folder`."""
    folder.mkdir(parents=True)
    for name, image in ((TIME1, head().time1), (TIME2, head().time2)):
        nib.save(nib.Nifti1Image(middle(image, shape).astype(np.float32), np.eye(4)), folder / name)
    nib.save(nib.Nifti1Image(np.ones(shape, np.uint8), np.eye(4)), folder / BRAIN_MASK)


def write_enlarged(pair: Path, shape: tuple[int, int, int], folder: Path) -> dict[str, Path]:
    """Write the scans of a pair, interpolated to a shape, into `folder`; return the new files by the scans' names."""
    folder.mkdir(parents=True)
    files = {}
    for name in (TIME1, TIME2):
        scan = read_volume(pair / name)
        factors = np.array(shape) / scan.data.shape
        large = on_grid(
            ndimage.zoom(scan.data, factors, order=1), scan.affine @ np.diag([*1 / factors, 1.0]), scan
        )
        files[name] = folder / name.removesuffix(".gz")
        write_image_like(files[name], large.data, large)
    return files
