"""Which lesions of one mask are found in the other: the rule of animaSegPerfAnalyzer.

Commowick et al., "Objective Evaluation of Multiple Sclerosis Lesion Segmentation", Sci. Rep. 8:13650, 2018.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lesionwise.errors import UsageError
from lesionwise.lesions import MINIMAL_VOLUME_MM3, Spacing, label_lesions

Mode = Literal["organisers", "intersection"]
"""When a lesion is detected: by the organisers' three thresholds, or as soon as one voxel is shared."""


LARGEST_MINIMUM_MM3 = 1e9
"""More than any head has."""


@dataclass(frozen=True)
class Thresholds:
    """When a lesion is detected; the defaults are the tool's and the paper's.

    `minimal_volume_mm3`: lesions that are not larger are left out of both masks.
    `alpha`: more than this share of a lesion has to be overlapped.
    `beta`: no more than this share of an overlapping lesion may lie outside.
    `gamma`: the overlapping lesions, by decreasing overlap, that are tested against beta make up this share
    of the overlap.
    Raises `UsageError` for values that the tool refuses, too.
    """

    minimal_volume_mm3: float = MINIMAL_VOLUME_MM3
    alpha: float = 0.10
    beta: float = 0.70
    gamma: float = 0.65

    def __post_init__(self) -> None:
        if not 0 <= self.minimal_volume_mm3 <= LARGEST_MINIMUM_MM3:
            raise UsageError(
                f"the minimal volume of {self.minimal_volume_mm3:g} mm3 is none; "
                f"give a number from 0 to {LARGEST_MINIMUM_MM3:g}"
            )
        for name in ("alpha", "beta", "gamma"):
            if not 0 < getattr(self, name) <= 1:
                raise UsageError(f"{name} of {getattr(self, name):g} is no share; give one above 0, up to 1")


@dataclass(frozen=True)
class Overlap:
    """How many voxels the lesions of two masks have and share; lesions are counted from 0.

    `truth_voxels` (M,), `predicted_voxels` (N,): sizes. For each of the K pairs that share voxels:
    `truth` (K,) and `predicted` (K,), the two lesions, and `shared` (K,), the voxels. Pairs are sorted by
    truth lesion, then by predicted lesion.
    """

    truth_voxels: NDArray[np.int64]
    predicted_voxels: NDArray[np.int64]
    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]
    shared: NDArray[np.int64]

    def swapped(self) -> "Overlap":
        """Return the overlap with the two masks exchanged."""
        order = np.lexsort((self.truth, self.predicted))
        return Overlap(
            self.predicted_voxels,
            self.truth_voxels,
            self.predicted[order],
            self.truth[order],
            self.shared[order],
        )


@dataclass(frozen=True)
class LesionMatch:
    """The lesions of a pair of masks, the largest first, and which of them are found in the other.

    `truth_mm3` (M,), `detected` (M,): volume of each true lesion, and whether it is detected.
    `predicted_mm3` (N,), `confirmed` (N,): volume of each predicted lesion, and whether it is a true one.
    """

    truth_mm3: NDArray[np.float64]
    detected: NDArray[np.bool_]
    predicted_mm3: NDArray[np.float64]
    confirmed: NDArray[np.bool_]


def match_lesions(
    prediction: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    spacing_mm: Spacing,
    thresholds: Thresholds,
    mode: Mode = "organisers",
) -> LesionMatch:
    """Find the lesions of both masks (x, y, z) and tell which are found in the other mask."""
    if mode not in get_args(Mode):
        raise ValueError(f"mode is {mode!r} and not one of {get_args(Mode)}")
    overlap = count_overlap(prediction, truth, spacing_mm, thresholds.minimal_volume_mm3)
    detect = detected_lesions if mode == "organisers" else _intersected_lesions
    voxel_mm3 = np.float64(math.prod(spacing_mm))
    return LesionMatch(
        truth_mm3=overlap.truth_voxels * voxel_mm3,
        detected=detect(overlap, thresholds),
        predicted_mm3=overlap.predicted_voxels * voxel_mm3,
        confirmed=detect(overlap.swapped(), thresholds),
    )


def count_overlap(
    prediction: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    spacing_mm: Spacing,
    minimal_volume_mm3: float = MINIMAL_VOLUME_MM3,
) -> Overlap:
    """Count the voxels that the lesions of two masks (x, y, z) have and share.

    Components below the minimum are background, as in the tool: what lies over them lies outside.
    """
    foreground = np.flatnonzero(prediction | truth)
    truth_lesion = label_lesions(truth, spacing_mm, minimal_volume_mm3).ravel()[foreground]
    predicted_lesion = label_lesions(prediction, spacing_mm, minimal_volume_mm3).ravel()[foreground]
    truth_voxels = np.bincount(truth_lesion, minlength=1)[1:]
    predicted_voxels = np.bincount(predicted_lesion, minlength=1)[1:]

    both = (truth_lesion > 0) & (predicted_lesion > 0)
    columns = max(len(predicted_voxels), 1)
    pair = (truth_lesion[both].astype(np.int64) - 1) * columns + (predicted_lesion[both] - 1)
    pairs, shared = np.unique(pair, return_counts=True)
    truth_of_pair, predicted_of_pair = np.divmod(pairs, columns)
    return Overlap(truth_voxels, predicted_voxels, truth_of_pair, predicted_of_pair, shared)


def detected_lesions(overlap: Overlap, thresholds: Thresholds) -> NDArray[np.bool_]:
    """Tell which truth lesions (M,) are detected by the organisers' rule.

    More than alpha of the lesion is overlapped by predicted lesions, all pooled; and of those, taken by
    decreasing overlap until they make up gamma of it, none lies by more than beta outside the true lesions.
    """
    overlapped = _voxels_shared(overlap)
    size = overlap.predicted_voxels
    outside = (size - _voxels_shared(overlap.swapped())) / size
    detected = overlapped / overlap.truth_voxels > thresholds.alpha

    # By truth lesion, then by decreasing overlap; of equals the lower number first (a stable sort).
    order = np.lexsort((overlap.predicted, -overlap.shared, overlap.truth))
    examined = np.zeros(len(detected))
    for pair in order:
        lesion, predicted = overlap.truth[pair], overlap.predicted[pair]
        if detected[lesion] and examined[lesion] < thresholds.gamma:
            detected[lesion] = outside[predicted] <= thresholds.beta
            examined[lesion] += overlap.shared[pair] / overlapped[lesion]
    return detected


def _intersected_lesions(overlap: Overlap, thresholds: Thresholds) -> NDArray[np.bool_]:  # noqa: ARG001
    """Tell which truth lesions (M,) share a voxel with any predicted lesion."""
    return _voxels_shared(overlap) > 0


def _voxels_shared(overlap: Overlap) -> NDArray[Any]:
    """Return how many voxels of each truth lesion (M,) lie in predicted lesions; whole numbers."""
    return np.bincount(overlap.truth, weights=overlap.shared, minlength=len(overlap.truth_voxels))
