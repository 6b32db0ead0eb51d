"""The whole `segment` of a real pair, as it is typed: against the reference chain, and how soon it starts."""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import ndimage

from benchmarks.bench_network import number_of_windows, plain_window_cpu_s
from benchmarks.bench_preprocessing import ANIMA_CPU_SECONDS, PAIR
from benchmarks.programs import command, lesionwise
from benchmarks.table import Row
from lesionwise.challenge_layout import TIME1, TIME2
from lesionwise.volume import read_volume

LARGEST_PAIR = PAIR.with_name("patient19")

MARGIN_MM = 32
"""Of the reference chain: its windows of 64 voxels of 1 mm, at stride 32, fill the brain's box and this around it."""


def rows() -> Iterator[Row]:
    """Segment the pair once on one thread and once on two; nothing where it is missing."""
    if not LARGEST_PAIR.is_dir():
        return
    windows = reference_windows()
    reference_cpu_s = sum(ANIMA_CPU_SECONDS.values()) + windows * plain_window_cpu_s()
    with tempfile.TemporaryDirectory() as folder:
        typed = ["segment", "-t1", LARGEST_PAIR / TIME1, "-t2", LARGEST_PAIR / TIME2]
        typed += ["-o", Path(folder) / "mask.nii.gz", "--threads"]
        one, two = (lesionwise(*typed, threads, "--quiet") for threads in (1, 2))
        start_s = seconds_before_first_step(*typed, 2)
    yield Row("seconds before `segment` reads the scans", start_s, bar=3, growth=True)
    yield Row("GB for segmenting patient19", two.peak_bytes / 1e9, bar=3, growth=True)
    yield Row("CPU seconds for patient19, one thread", one.cpu_s, bar=90, growth=True)
    yield Row("--threads 1: cores that it could keep busy", one.cores, bar=1.1, growth=True)
    yield Row("seconds for patient19, two threads", two.seconds, bar=45, growth=True)
    yield Row(
        f"patient19, CPU seconds: Anima and {windows} plain float32 windows against `segment`",
        reference_cpu_s / one.cpu_s,
        bar=12,
    )


def reference_windows() -> int:
    """Return how many windows the reference chain runs over the pair."""
    brain = read_volume(LARGEST_PAIR / "brain_mask.nii.gz")
    box = [part.stop - part.start for part in ndimage.find_objects((brain.data > 0).astype(np.uint8))[0]]
    return number_of_windows(
        tuple(round(n * mm + 2 * MARGIN_MM) for n, mm in zip(box, brain.spacing_mm, strict=True))
    )


def seconds_before_first_step(*arguments: object) -> float:
    """Return how long the program takes from its start to its first step, which it tells of when that is done."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None  # it is a pipe
    line = process.stderr.readline()  # "reading: 0.4 s"
    seconds = time.perf_counter() - begin
    process.terminate()
    process.communicate()
    return seconds - float(line.split()[-2])
