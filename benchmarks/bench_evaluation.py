"""The evaluator on one core: `python -m benchmarks bench_evaluation`.

A pair of 256 x 256 x 200 masks with 60 lesions each, half of them matched; then how the time grows with
the lesions and with the volume around them.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks.table import Row, cpu_seconds_in_turn
from lesionwise.evaluation import evaluate_pair

SPACING_MM = (1.0, 1.0, 1.0)
SHAPE = (256, 256, 200)

# What animaSegPerfAnalyzer needs for such a pair is 0.3 and 3.9 seconds.
BAR_SECONDS = {"voxel and lesion measures": 0.5, "all measures": 1.5}

Mask = NDArray[np.bool_]


def rows() -> Iterator[Row]:
    """Offer the evaluator's time, and how it grows: with the lesions, and with the volume around them."""
    small, lesions, large = make_pair(SHAPE, 60), make_pair(SHAPE, 240), make_pair((512, 512, 200), 60)
    with threadpool_limits(1):
        few, base, more, larger = cpu_seconds_in_turn(
            partial(evaluate_pair, *small, SPACING_MM, surfaces=False),
            *(partial(evaluate_pair, *pair, SPACING_MM) for pair in (small, lesions, large)),
        )
    for (name, bar), seconds in zip(BAR_SECONDS.items(), (few, base), strict=True):
        yield Row(f"CPU seconds of the evaluator, 60 lesions: {name}", seconds, bar=bar, growth=True)
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
