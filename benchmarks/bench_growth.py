"""How `segment` and `batch` grow: with the voxels of a case, and with the cases; a batch against single starts.

A block of a synthetic head that is all brain takes the place of a whole head: each stage runs, in bounded time.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.programs import BRAIN_MASK, Use, lesionwise, segment, write_block
from benchmarks.table import Row

LARGE = (64, 80, 64)
SMALL = (48, 48, 48)
"""So small that the start of the program weighs much."""
CASES = 20
SINGLE_STARTS = 2
BAR_OF_A_BATCH = 1 / 0.75
"""A case in a batch takes at most three quarters of a single start."""


def rows() -> Iterator[Row]:
    """Compare starts of the program by what the kernel says they took."""
    with tempfile.TemporaryDirectory() as name:
        yield from of_voxels(Path(name) / "voxels")
        yield from of_cases(Path(name) / "cases")


def of_voxels(folder: Path) -> Iterator[Row]:
    """Compare the same block at 1 mm and at 0.5 mm."""
    coarse, fine = (written_and_segmented(folder / str(finer), LARGE, finer=finer) for finer in (1, 2))
    yield Row("segment: 8 times the voxels, CPU seconds", fine.cpu_s / coarse.cpu_s, bar=2.5, growth=True)
    yield Row("segment: 8 times the voxels, memory", fine.peak_bytes / coarse.peak_bytes, growth=True)


def of_cases(folder: Path) -> Iterator[Row]:
    """Compare one case and many in a batch, and both with starts of their own."""
    for number in range(CASES):
        write_block(folder / f"many/case{number:02d}", SMALL)
    write_block(folder / "one/case00", SMALL)
    single = sum(segment(folder / "one/case00", folder / "single.nii.gz").cpu_s for _ in range(SINGLE_STARTS))
    one, many = (
        lesionwise("batch", folder / name, folder / f"{name}_out", "--brain-mask-name", BRAIN_MASK, "--quiet")
        for name in ("one", "many")
    )
    yield Row(
        f"batch: a single start against a case of {CASES}, CPU seconds",
        single / SINGLE_STARTS / (many.cpu_s / CASES),
        bar=BAR_OF_A_BATCH,
    )
    yield Row(f"batch: {CASES} times the cases, CPU seconds", many.cpu_s / one.cpu_s, bar=CASES, growth=True)
    yield Row(
        f"batch: {CASES} times the cases, memory", many.peak_bytes / one.peak_bytes, bar=1.1, growth=True
    )


def written_and_segmented(folder: Path, shape: tuple[int, int, int], finer: int) -> Use:
    """Write a block and segment it."""
    write_block(folder, shape, finer)
    return segment(folder, folder / "mask.nii.gz")
