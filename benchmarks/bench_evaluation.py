"""Time the evaluator on one core: `python -m benchmarks.bench_evaluation`.

A pair of 256 x 256 x 200 masks with 60 lesions each, half of them matched; then how the time grows with
the lesions and with the volume around them; then the small patches of training.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks.table import Row, cpu_seconds_in_turn
from lesionwise.evaluation import evaluate_pair, lesion_f1

SPACING_MM = (1.0, 1.0, 1.0)
SHAPE = (256, 256, 200)
REPEATS = 3

# What animaSegPerfAnalyzer needs for such a pair, and what is asked of this one.
TOOL_SECONDS = {"voxel and lesion measures": 0.3, "with surface distances": 3.9}
BAR_SECONDS = {"voxel and lesion measures": 0.5, "with surface distances": 1.5}

Mask = NDArray[np.bool_]


def main() -> None:
    print("Evaluator, pure functions on arrays, one core, CPU seconds (median of 3)")
    prediction, truth = make_pair(SHAPE, lesions=60)
    with threadpool_limits(1):
        for name, surfaces in (("voxel and lesion measures", False), ("with surface distances", True)):
            seconds = cpu_seconds(partial(evaluate_pair, prediction, truth, SPACING_MM, surfaces=surfaces))
            verdict = "ok" if seconds < BAR_SECONDS[name] else "TOO SLOW"
            print(
                f"  {name:42} {seconds:7.3f}   bar {BAR_SECONDS[name]}, the tool {TOOL_SECONDS[name]}: {verdict}"
            )
        for name, shape, lesions in (
            ("240 lesions, the same volume", SHAPE, 240),
            ("60 lesions, four times the volume", (512, 512, 200), 60),
        ):
            pair = make_pair(shape, lesions)
            print(f"  {name:42} {cpu_seconds(partial(evaluate_pair, *pair, SPACING_MM)):7.3f}")
        for name, (patch_prediction, patch_truth) in (
            ("lesion_f1, a 64^3 patch, 6 lesions", make_pair((64, 64, 64), 6)),
            ("lesion_f1, a 64^3 patch of noise", make_noise((64, 64, 64))),
        ):
            seconds = cpu_seconds(partial(lesion_f1, patch_prediction, patch_truth, SPACING_MM))
            print(f"  {name:42} {1000 * seconds:7.2f} ms")


def rows() -> Iterator[Row]:
    """Offer how the evaluator's time grows: with the lesions, and with the volume around them."""
    small, lesions, large = make_pair(SHAPE, 60), make_pair(SHAPE, 240), make_pair((512, 512, 200), 60)
    with threadpool_limits(1):
        base, more, larger = cpu_seconds_in_turn(
            *(partial(evaluate_pair, *pair, SPACING_MM) for pair in (small, lesions, large))
        )
    yield Row("evaluator: 4 times the lesions", more / base, bar=4, growth=True)
    yield Row("evaluator: 4 times the volume", larger / base, bar=4, growth=True)


def make_pair(shape: tuple[int, int, int], lesions: int) -> tuple[Mask, Mask]:
    """Return a prediction and a truth of balls of radius 2 to 8 voxels, every second one in both, shifted."""
    random = np.random.default_rng(0)
    prediction, truth = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    largest = min(8, min(shape) // 8)
    for lesion in range(lesions):
        centre = random.integers(largest + 2, np.array(shape) - largest - 2)
        radius = int(random.integers(2, largest + 1))
        add_ball(truth, centre, radius)
        shifted = centre + random.integers(-1, 2, 3)
        elsewhere = random.integers(largest + 2, np.array(shape) - largest - 2)
        add_ball(prediction, shifted if lesion % 2 else elsewhere, radius)
    return prediction, truth


def add_ball(mask: Mask, centre: NDArray[np.int64], radius: int) -> None:
    box = tuple(slice(c - radius, c + radius + 1) for c in centre)
    x, y, z = np.ogrid[[slice(-radius, radius + 1)] * 3]
    mask[box] |= x**2 + y**2 + z**2 <= radius**2


def make_noise(shape: tuple[int, int, int]) -> tuple[Mask, Mask]:
    """Return what an untrained network may give, against a few lesions."""
    return np.random.default_rng(1).random(shape) > 0.8, make_pair(shape, 6)[1]


def cpu_seconds(run: Callable[[], object]) -> float:
    run()
    seconds = []
    for _ in range(REPEATS):
        start = time.process_time()
        run()
        seconds.append(time.process_time() - start)
    return float(np.median(seconds))


if __name__ == "__main__":
    main()
