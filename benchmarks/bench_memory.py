"""The peak memory of `lesionwise preprocess` for two scans of 512 x 512 x 256 voxels, in GB (10^9 bytes).

The scans are those of a real pair, interpolated: a head fills them as it does in life.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import ndimage

from benchmarks.bench_preprocessing import PAIR
from benchmarks.table import Row
from lesionwise.challenge_layout import TIME1, TIME2
from lesionwise.volume import Volume, on_grid, read_volume, write_image_like

SHAPE = (512, 512, 256)


def rows() -> Iterator[Row]:
    """Preprocess the large pair in a process of its own; nothing where the pair is missing."""
    if PAIR.is_dir():
        name = f"GB for preprocessing at {' x '.join(map(str, SHAPE))}"
        yield Row(name, peak_bytes(SHAPE) / 1e9, bar=2.5, growth=True)


def peak_bytes(shape: tuple[int, int, int], threads: int = 2) -> int:
    with tempfile.TemporaryDirectory() as name:
        scans = [Path(name) / file.removesuffix(".gz") for file in (TIME1, TIME2)]
        for file, path in zip((TIME1, TIME2), scans, strict=True):
            write_enlarged(read_volume(PAIR / file), shape, path)
        command = [sys.executable, "-m", "lesionwise.cli", "preprocess", "-t1", scans[0], "-t2", scans[1]]
        process = subprocess.Popen([*command, "-o", Path(name) / "out", "--threads", str(threads)])
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            raise SystemExit("preprocessing of the large pair failed")
        return usage.ru_maxrss * 1024


def write_enlarged(scan: Volume, shape: tuple[int, int, int], path: Path) -> None:
    factors = np.array(shape) / scan.data.shape
    affine = scan.affine @ np.diag([*1 / factors, 1.0])
    large = on_grid(ndimage.zoom(scan.data, factors, order=1), affine, scan)
    write_image_like(path, large.data, large)


if __name__ == "__main__":
    print(f"{peak_bytes(SHAPE) / 1e9:.2f} GB")
