"""A case in a batch against a single start, by the clock.

    python -m benchmarks.bench_batch [--cases 20] [--singles 20] [options of segment]

Synthetic heads are segmented by one `lesionwise batch --prefetch`, and `--singles` of them, spread evenly, by a start of
`lesionwise segment` each. Options that it does not know go to both. The masks must be the same.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

from benchmarks.programs import Use, lesionwise
from benchmarks.table import Row
from lesionwise.challenge_layout import SEGMENTATION, TIME1, TIME2

BAR = 1 / 0.75
"""A case in a batch takes at most three quarters of a single start."""
CASES = 3


def rows() -> Iterator[Row]:
    """Compare few cases, with one thread for each step, as is the default of both: the batch has two such steps at a time."""
    return compare(CASES, CASES, [])


def compare(count: int, single_starts: int, options: list[str]) -> Iterator[Row]:
    """Segment heads in both ways, by the mean time of a case. Raises SystemExit where a mask differs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lesionwise("phantom", folder / "in", "--cases", count, "--seed", 1)
        cases = sorted((folder / "in").iterdir())
        chosen = [cases[k * count // single_starts] for k in range(single_starts)]
        singles = [single(case, folder / "single" / case.name, options) for case in chosen]
        batch = lesionwise("batch", folder / "in", folder / "batch", "--prefetch", "--quiet", *options)
        for case in chosen:
            if mask(folder / "batch" / case.name) != mask(folder / "single" / case.name):
                raise SystemExit(f"the mask of {case.name} is not that of a single start")
    title = f"a single start against a case of `batch --prefetch` of {count}"
    seconds, cpu_s = (fmean(getattr(use, name) for use in singles) for name in ("seconds", "cpu_s"))
    yield Row(f"{title}, by the clock", seconds / (batch.seconds / count), bar=BAR)
    yield Row(f"{title}, CPU seconds", cpu_s / (batch.cpu_s / count))


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
    parser.add_argument("--singles", type=int)
    chosen, options = parser.parse_known_args()
    for row in compare(chosen.cases, chosen.singles or chosen.cases, options):
        print(f"{row.name}: {row.ratio:.3g}", flush=True)


if __name__ == "__main__":
    main()
