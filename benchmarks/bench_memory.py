"""The peak memory of `lesionwise preprocess` for two scans of 512 x 512 x 256 voxels, in GB (10^9 bytes).

The scans are those of a real pair, interpolated: a head fills them as it does in life.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench_preprocessing import PAIR
from benchmarks.programs import lesionwise, write_enlarged
from benchmarks.table import Row
from lesionwise.challenge_layout import TIME1, TIME2

SHAPE = (512, 512, 256)


def rows() -> Iterator[Row]:
    """Preprocess the large pair in a process of its own; nothing where the pair is missing."""
    if not PAIR.is_dir():
        return
    with tempfile.TemporaryDirectory() as name:
        scans = write_enlarged(PAIR, SHAPE, Path(name) / "pair")
        use = lesionwise(
            "preprocess",
            "-t1",
            scans[TIME1],
            "-t2",
            scans[TIME2],
            "-o",
            Path(name) / "out",
            "--threads",
            2,
            "-q",
        )
    yield Row(
        f"GB for preprocessing at {' x '.join(map(str, SHAPE))}", use.peak_bytes / 1e9, bar=2.5, growth=True
    )
