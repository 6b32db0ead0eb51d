"""Preprocessing of a real pair against the CPU seconds of the Anima chain for a FLAIR of this size, and how denoising
would scale to two threads if each had a core: one thread's CPU seconds by those of the busiest of two.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.table import Row
from lesionwise.challenge_layout import TIME1, TIME2
from lesionwise.preprocessing import denoising
from lesionwise.preprocessing.bias_field import correct_bias_field
from lesionwise.scan_pair import ScanPair, find_brain, read_pair

PAIR = Path("../shared/data/ljubljana/pairs/patient01")
# Of one FLAIR of 320 x 320 x 48 voxels: two atlas registrations of a pair take about 250.
ANIMA_CPU_SECONDS = {"finding the brain": 250.0, "bias correction": 2 * 4.4, "denoising": 2 * 34.0}


def rows() -> Iterator[Row]:
    """Time each step of the pair; nothing where the pair is missing."""
    if not PAIR.is_dir():
        return
    pair = read_pair(PAIR / TIME1, PAIR / TIME2)
    steps = measure(pair)
    for name, seconds in steps.items():
        yield Row(f"{name} against Anima's", ANIMA_CPU_SECONDS[name] / seconds)
    yield Row("preprocessing against Anima's", sum(ANIMA_CPU_SECONDS.values()) / sum(steps.values()), bar=10)
    yield Row("CPU seconds of preprocessing; two cores have 50 in 25 s", sum(steps.values()), 50, growth=True)
    scaling = statistics.median(denoising_scaling(pair.time1.data) for _ in range(3))
    yield Row("denoising: two threads against one", scaling, bar=1.7)


def measure(pair: ScanPair) -> dict[str, float]:
    seconds = {}
    denoising.denoise(np.random.default_rng(0).random((8, 8, 8)))  # compiled before it is timed
    start = time.process_time()
    brain, _ = find_brain(pair.time1, pair.time2, 2)
    seconds["finding the brain"] = time.process_time() - start
    masked = [np.where(brain, scan.data, np.float32(0)) for scan in (pair.time1, pair.time2)]
    for name, run in (("bias correction", correct_bias_field), ("denoising", denoising.denoise)):
        start = time.process_time()
        masked = [run(image, 1) for image in masked]
        seconds[name] = time.process_time() - start
    return seconds


def denoising_scaling(image: np.ndarray) -> float:
    """Return the CPU seconds of all shares of the work by those of the largest of two, run side by side."""
    voxels = np.ascontiguousarray(image.T, dtype=np.float64)
    means, variances = np.empty_like(voxels), np.empty_like(voxels)
    noise, result = denoising.noise_variance(image), voxels.astype(np.float32)
    denoising._local_statistics(voxels, means, variances, 0, 1)

    def cpu_seconds(thread: int, threads: int) -> float:
        return thread_seconds(
            lambda: denoising._nlmeans(voxels, means, variances, noise, result, thread, threads)
        )

    alone = cpu_seconds(0, 1)
    with ThreadPoolExecutor(2) as pool:
        busiest = max(pool.map(lambda thread: cpu_seconds(thread, 2), range(2)))
    return alone / busiest


def thread_seconds(run: Callable[[], object]) -> float:
    start = time.thread_time()
    run()
    return time.thread_time() - start
