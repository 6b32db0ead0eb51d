"""Predictions made from truths: lesions dropped, added, merged, split, shifted, grown and shrunk, and ragged edges.

Random draws steered towards a wanted F1; what the F1 became is measured afterwards, never assumed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lesionwise.simulation.lesions import blob, random_volume_mm3
from train.metric_network.placed_lesions import (
    Mask,
    Placed,
    bridge,
    grown,
    lesions_of,
    nearest,
    paint,
    shifted,
    shrunk,
    split,
)

MOST_FALSE = 40
"""No prediction gets more false lesions than this."""


@dataclass(frozen=True)
class Shapes:
    """What truths are made of: lesion shapes (tight bool boxes) and whole masks of real patients (x, y, z), 1 mm."""

    boxes: Sequence[Mask]
    masks: Sequence[Mask] = ()

    def draw(self, rng: np.random.Generator, size: int) -> Placed:
        """Return a random shape, mirrored and with axes swapped, somewhere in the patch or over its border."""
        box = self.boxes[int(rng.integers(len(self.boxes)))].transpose(rng.permutation(3))
        box = box[tuple(slice(None, None, int(step)) for step in rng.choice([-1, 1], 3))]
        start = rng.integers(0, size, 3) - np.asarray(box.shape) // 2
        return Placed(box, tuple(int(s) for s in start))


def random_boxes(rng: np.random.Generator, count: int, real: Sequence[Mask] = ()) -> list[Mask]:
    """Return `count` shapes: simulated blobs of the size of new lesions, a third of them `real` ones if there are any."""
    boxes = []
    for _ in range(count):
        if len(real) and rng.random() < 1 / 3:
            boxes.append(real[int(rng.integers(len(real)))])
            continue
        mask = blob(rng, random_volume_mm3(rng, 45.0)) > 0.5
        boxes += [lesion.mask for lesion in lesions_of(mask)[:1]]
    return boxes


def random_truth(shapes: Shapes, size: int, f1: float, rng: np.random.Generator) -> list[Placed]:
    """Return the lesions of a patch's truth, as many as an F1 near `f1` needs: 0.95 takes more lesions than 0.5."""
    if len(shapes.masks) and rng.random() < 0.3:
        lesions = lesions_of(_crop(shapes.masks[int(rng.integers(len(shapes.masks)))], size, rng))
        if lesions:
            return lesions
    fewest = 6 if 0.9 <= f1 < 1 else 1
    count = int(rng.integers(fewest, 19)) if f1 > 0.8 and f1 < 1 else int(rng.geometric(0.22))
    if f1 in (0, 1) and rng.random() < 0.25:
        count = 0
    lesions = []
    for _ in range(count):
        lesion = shapes.draw(rng, size)
        if lesions and rng.random() < 0.3:  # beside another, where networks merge
            offset = lesions[int(rng.integers(len(lesions)))].centre - lesion.centre
            lesion = shifted(lesion, offset + rng.integers(-10, 11, 3))
        lesions.append(lesion)
    return lesions


def random_prediction(
    truth: Sequence[Placed], shapes: Shapes, size: int, f1: float, rng: np.random.Generator
) -> Mask:
    """Return a prediction of a truth with an F1 that tends towards `f1`.

    Lesions are found with a probability `sensitivity` and false ones added until the precision fits: f1 is the harmonic
    mean of the two.
    """
    if f1 == 1:
        return _ragged(paint([_distorted(lesion, 0.3, rng) for lesion in truth], size), rng, 0.1)
    sensitivity = float(rng.uniform(f1 / (2 - f1), 1))
    precision = f1 * sensitivity / (2 * sensitivity - f1) if f1 else 0.0
    hit = [bool(rng.random() < sensitivity) and f1 > 0 for _ in truth]
    if f1 and truth and not any(hit):
        hit[int(rng.integers(len(truth)))] = True
    found = [lesion for lesion, is_hit in zip(truth, hit, strict=True) if is_hit]
    predicted = [_distorted(lesion, 0.6, rng) for lesion in found]
    if len(truth) > 1 and found and rng.random() < 0.3:
        first = found[int(rng.integers(len(found)))]
        others = [lesion for lesion in truth if lesion is not first]
        predicted.append(bridge(first, nearest(first, others)))
    false = rng.poisson(len(found) * (1 / precision - 1)) if precision else rng.geometric(0.3)
    for _ in range(min(int(false), MOST_FALSE)):
        lesion = shapes.draw(rng, size)
        if truth and rng.random() < 0.3:  # beside a true one: near is not enough
            near = truth[int(rng.integers(len(truth)))].centre - lesion.centre
            lesion = shifted(lesion, near + rng.integers(-12, 13, 3))
        predicted.append(lesion)
    return _ragged(paint(predicted, size), rng, 0.25)


def _distorted(lesion: Placed, share: float, rng: np.random.Generator) -> Placed:
    """Return the lesion as a network might draw it; a `share` of them is changed."""
    if rng.random() > share:
        return lesion
    kind = rng.choice(["shift", "grow", "shrink", "split"], p=[0.35, 0.25, 0.3, 0.1])
    if kind == "shift":
        return shifted(lesion, rng.normal(0, 1.5, 3))
    if kind == "grow":
        return grown(lesion, int(rng.integers(1, 3)))
    if kind == "shrink":
        return shrunk(lesion, int(rng.integers(1, 3)))
    return split(lesion, int(rng.integers(3)), int(rng.integers(1, 3)))


def _ragged(mask: Mask, rng: np.random.Generator, share: float) -> Mask:
    """Return the mask, in a `share` of the cases with noise at its edges and specks beside it."""
    if rng.random() > share:
        return mask
    noise = rng.standard_normal(mask.shape, dtype=np.float32)
    blurred = ndimage.uniform_filter(mask.astype(np.float32), 3)
    specks = rng.random(mask.shape, dtype=np.float32) < rng.uniform(0, 5e-4)
    return np.asarray((blurred + 0.12 * noise * (blurred > 0) > 0.5) | specks)


def _crop(mask: Mask, size: int, rng: np.random.Generator) -> Mask:
    """Return a patch around a random lesion voxel of a whole mask, mirrored and with axes swapped."""
    voxels = np.flatnonzero(mask)
    centre = np.array(np.unravel_index(int(voxels[rng.integers(len(voxels))]), mask.shape))
    start = centre - rng.integers(size // 4, 3 * size // 4 + 1, 3)
    low = np.clip(start, 0, None)
    crop = mask[tuple(slice(int(a), int(max(a, s + size))) for a, s in zip(low, start, strict=True))]
    before = low - start
    crop = np.pad(crop, [(int(b), int(size - b - n)) for b, n in zip(before, crop.shape, strict=True)])
    crop = crop[tuple(slice(None, None, int(step)) for step in rng.choice([-1, 1], 3))]
    return np.asarray(crop.transpose(rng.permutation(3)))
