"""How `segment` and `batch` grow: with the voxels of a scan, and with the number of cases."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench_preprocessing import PAIR
from benchmarks.programs import BRAIN_MASK, lesionwise, write_block, write_enlarged
from benchmarks.table import Row
from lesionwise.challenge_layout import TIME1, TIME2

FINE = (512, 512, 256)
COARSE = (256, 256, 128)
BLOCK = (48, 48, 48)
"""Of a synthetic head, all of it brain: it takes the place of a whole head where there are many cases."""
CASES = 20


def rows() -> Iterator[Row]:
    """Compare starts of the program by what the kernel says they took."""
    with tempfile.TemporaryDirectory() as name:
        if PAIR.is_dir():
            yield from of_voxels(Path(name) / "voxels")
        yield from of_cases(Path(name) / "cases")


def of_voxels(folder: Path) -> Iterator[Row]:
    """Segment the same real pair, interpolated to two grids of which one has 8 times the voxels."""
    uses = []
    for shape in (COARSE, FINE):
        scans = write_enlarged(PAIR, shape, folder / str(shape[0]))
        mask = folder / f"{shape[0]}.nii.gz"
        uses.append(lesionwise("segment", "-t1", scans[TIME1], "-t2", scans[TIME2], "-o", mask, "--quiet"))
    coarse, fine = uses
    title = f"segment: {' x '.join(map(str, FINE))} against an eighth of the voxels"
    yield Row(f"{title}, CPU seconds", fine.cpu_s / coarse.cpu_s, bar=2.5, growth=True)
    yield Row(f"{title}, memory", fine.peak_bytes / coarse.peak_bytes, growth=True)


def of_cases(folder: Path) -> Iterator[Row]:
    """Compare a batch of one case with one of many."""
    for number in range(CASES):
        write_block(folder / f"many/case{number:02d}", BLOCK)
    write_block(folder / "one/case00", BLOCK)
    one, many = (
        lesionwise("batch", folder / name, folder / f"{name}_out", "--brain-mask-name", BRAIN_MASK, "--quiet")
        for name in ("one", "many")
    )
    yield Row(f"batch: {CASES} times the cases, CPU seconds", many.cpu_s / one.cpu_s, bar=CASES, growth=True)
    yield Row(
        f"batch: {CASES} times the cases, memory", many.peak_bytes / one.peak_bytes, bar=1.1, growth=True
    )
