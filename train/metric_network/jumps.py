"""Predictions close to where the lesion-wise F1 jumps: there an estimate has most to learn, and random ones seldom lie.

In a patch with few lesions F1 changes by a third or more where one voxel decides whether a lesion counts as found.
"""

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from train.metric_network.placed_lesions import Mask

NEIGHBOURHOOD = 7
"""Edge in voxels of the cube whose filled share says how deep inside a lesion a voxel lies."""

HALVINGS = 7
NEAR = 0.03
"""Standard deviation of how far from the jump the prediction lies, where 1 is all the way between the two masks."""


def beside_a_jump(first: Mask, second: Mask, f1: Callable[[Mask], float], rng: np.random.Generator) -> Mask:
    """Return a mask on the way from one prediction to another of the same truth, close to where its F1 jumps.

    What the two masks (x, y, z) do not share shrinks from its edges, then grows. The way is halved, and the half kept in which
    F1 changes more, a random one of equals: without a jump the result lies anywhere between.
    """
    depths = [_depth(mask) for mask in (first, second)]

    def between(share: float) -> Mask:
        return np.asarray((1 - share) * depths[0] + share * depths[1] > 0.5)

    ends, values = [0.0, 1.0], [f1(first), f1(second)]
    for _ in range(HALVINGS):
        middle = sum(ends) / 2
        value = f1(between(middle))
        changes = [abs(value - values[0]), abs(values[1] - value)]
        kept = int(rng.integers(2)) if changes[0] == changes[1] else int(changes[1] > changes[0])
        ends[1 - kept], values[1 - kept] = middle, value
    return between(float(np.clip(sum(ends) / 2 + rng.normal(0, NEAR), 0, 1)))


def _depth(mask: Mask) -> np.ndarray:
    """Return a map that is above 0.5 just where the mask is, and the more so the more of the mask is around."""
    inside = mask.astype(np.float32)
    return np.asarray(inside + ndimage.uniform_filter(inside, NEIGHBOURHOOD, mode="nearest")) / 2
