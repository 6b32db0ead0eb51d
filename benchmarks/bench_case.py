"""The whole `segment` of a real pair, as it is typed, on one thread."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench_preprocessing import PAIR
from benchmarks.programs import lesionwise
from benchmarks.table import Row
from lesionwise.challenge_layout import TIME1, TIME2

LARGEST_PAIR = PAIR.with_name("patient19")


def rows() -> Iterator[Row]:
    """Segment the pair once, on one thread; nothing where it is missing."""
    if not LARGEST_PAIR.is_dir():
        return
    scans = ["-t1", LARGEST_PAIR / TIME1, "-t2", LARGEST_PAIR / TIME2]
    with tempfile.TemporaryDirectory() as folder:
        use = lesionwise("segment", *scans, "-o", Path(folder) / "mask.nii.gz", "--threads", 1, "--quiet")
    yield Row("GB for segmenting patient19", use.peak_bytes / 1e9, bar=3, growth=True)
    yield Row("CPU seconds for patient19, one thread", use.cpu_s, bar=90, growth=True)
    yield Row("--threads 1: cores that it could keep busy", use.cores, bar=1.1, growth=True)
