"""What the metric network learns: the lesion-wise F1 of a patch, by the evaluator's own functions."""

from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from lesionwise.evaluation import DEFAULT_THRESHOLDS, lesion_f1
from lesionwise.lesions import Spacing, label_lesions
from lesionwise.overlap import Mode, match_lesions

SPACING_MM: Spacing = (1.0, 1.0, 1.0)
"""Patches lie on the network's grid."""

BINS = 10
"""F1 in [0, 1] is balanced and reported in this many equal bins."""

CELL = 8
"""Edge in voxels of the cells in which lesions are counted: the compact head's."""

DEFINITIONS: tuple[Mode, ...] = get_args(Mode)
"""The organisers' test of detection (the paper's reference 9), or plain intersection as the paper's text words it."""


def patch_f1(prediction: NDArray[Any], truth: NDArray[Any], definition: Mode = "organisers") -> float:
    """Return the lesion-wise F1 of two bool masks (x, y, z) of a patch with 1 mm voxels.

    A patch cuts lesions at its border. What is left of a lesion in the patch is taken for a lesion of its own: it counts where
    it is larger than 3 mm3, two pieces that meet only outside count as two, and smaller pieces count nowhere, in
    either mask. So the value is a function of what the metric network sees and of nothing else; it is not the
    patch's share of the case's F1.

    Where neither mask has a lesion the value is 1, where only one has 0: a false lesion in a patch without any costs
    the most it can.
    """
    return lesion_f1(prediction, truth, SPACING_MM, mode=definition)


def lesion_counts(
    prediction: NDArray[Any], truth: NDArray[Any], definition: Mode = "organisers"
) -> NDArray[np.float32]:
    """Return where the lesions behind `patch_f1` lie: (4, x / CELL, y / CELL, z / CELL), each lesion 1 in total.

    The four: true lesions that are found and missed, predicted ones that are right and wrong. A lesion is spread over
    the cells by its voxels.
    """
    match = match_lesions(prediction, truth, SPACING_MM, DEFAULT_THRESHOLDS, definition)
    shape = tuple(n // CELL for n in truth.shape)
    counts = np.zeros((4, *shape), dtype=np.float32)
    for first, mask, is_hit in ((0, truth, match.detected), (2, prediction, match.confirmed)):
        labels = label_lesions(mask, SPACING_MM)
        voxels = np.nonzero(labels)
        lesion = labels[voxels] - 1
        share = 1 / np.bincount(lesion, minlength=len(is_hit))
        np.add.at(counts, (first + ~is_hit[lesion], *(axis // CELL for axis in voxels)), share[lesion])
    return counts


def bin_of(f1: float | NDArray[np.floating[Any]]) -> Any:
    """Return the bin, 0 to 9, of a value in [0, 1] or of each of an array; 1 belongs to the last."""
    # 0.7 as a float32 is 0.69999999: what is a bin's edge up to rounding belongs to the upper bin.
    return np.clip(np.floor(np.asarray(f1, dtype=np.float64) * BINS + 1e-6).astype(int), 0, BINS - 1)
