"""A batch against as many single starts, by the clock: `python -m benchmarks.bench_batch [--cases 20] [options of segment]`.

Synthetic heads are segmented by a start of `lesionwise segment` each, then by one `lesionwise batch --prefetch`. Options that
it does not know go to both. The masks must be the same.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.programs import Use, lesionwise
from benchmarks.table import Row
from lesionwise.challenge_layout import SEGMENTATION, TIME1, TIME2

BAR = 1 / 0.75
"""A case in a batch takes at most three quarters of a single start."""
CASES = 3


def rows() -> Iterator[Row]:
    """Compare few cases, with one thread for each step, as is the default of both: the batch has two such steps at a time."""
    return compare(CASES, [])


def compare(count: int, options: list[str]) -> Iterator[Row]:
    """Segment so many heads in both ways. Raises SystemExit where a mask differs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lesionwise("phantom", folder / "in", "--cases", count, "--seed", 1)
        cases = sorted((folder / "in").iterdir())
        singles = [single(case, folder / "single" / case.name, options) for case in cases]
        batch = lesionwise("batch", folder / "in", folder / "batch", "--prefetch", "--quiet", *options)
        for case in cases:
            if mask(folder / "batch" / case.name) != mask(folder / "single" / case.name):
                raise SystemExit(f"the mask of {case.name} is not that of a single start")
    title = f"batch --prefetch: {count} single starts against it"
    yield Row(f"{title}, by the clock", sum(use.seconds for use in singles) / batch.seconds, bar=BAR)
    yield Row(f"{title}, CPU seconds", sum(use.cpu_s for use in singles) / batch.cpu_s)


def single(case: Path, folder: Path, options: list[str]) -> Use:
    folder.mkdir(parents=True)
    scans = ["-t1", case / TIME1, "-t2", case / TIME2, "-o", folder / SEGMENTATION]
    return lesionwise("segment", *scans, "--quiet", *options)


def mask(folder: Path) -> bytes:
    return (folder / SEGMENTATION).read_bytes()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=20)
    chosen, options = parser.parse_known_args()
    for row in compare(chosen.cases, options):
        print(f"{row.name}: {row.ratio:.3g}", flush=True)


if __name__ == "__main__":
    main()
