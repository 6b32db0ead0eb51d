"""The challenge's measures: pure functions on two masks and the voxel size, equal to animaSegPerfAnalyzer.

Definitions: Commowick et al., Sci. Rep. 8:13650, 2018, and the tool (Anima 4.2). Masks are bool, indexed
(x, y, z), on one grid. A mask that is empty, or that fills the whole image, has no surface.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lesionwise.lesions import MINIMAL_VOLUME_MM3, Spacing
from lesionwise.overlap import LesionMatch, Mode, Thresholds, match_lesions
from lesionwise.surfaces import SURFACE_MEASURES, surface_measures

VOXEL_MEASURES = ("Jaccard", "Dice", "Sensitivity", "Specificity", "PPV", "NPV", "RelativeVolumeError")
LESION_MEASURES = ("PPVL", "SensL", "F1_score")
TESTED_MEASURES = ("NbTestedLesions", "VolTestedLesions")
MEASURES = (*VOXEL_MEASURES, *SURFACE_MEASURES, *LESION_MEASURES, *TESTED_MEASURES)
"""All measures under the tool's names and in its order, `SurfaceDistanceAnima` beside the one it mends."""

DEFAULT_THRESHOLDS = Thresholds()


@dataclass(frozen=True)
class Scores:
    """What a pair of masks scores.

    `measures`: each name of `MEASURES`; nan where the tool prints none or nan. `lesions`: what was counted.
    """

    measures: dict[str, float]
    lesions: LesionMatch
    has_lesions: bool
    """Whether the truth has any lesion voxel, which decides what is measured."""


def evaluate_pair(
    prediction: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    spacing_mm: Spacing,
    thresholds: Thresholds = DEFAULT_THRESHOLDS,
    surfaces: bool = True,
) -> Scores:
    """Measure a prediction against the truth as the tool does.

    With lesions in the truth: all but the two "Tested" measures. Without any: these two alone, the number
    of predicted lesions and their mm3; as in the tool the minimal volume then is 3 mm3 whatever is asked.
    `surfaces=False` leaves the distances out (nan). Raises `ValueError` for masks of different shapes.
    """
    prediction, truth = _as_masks(prediction, truth)
    measures = dict.fromkeys(MEASURES, math.nan)
    has_lesions = bool(truth.any())
    if not has_lesions:
        thresholds = replace(thresholds, minimal_volume_mm3=MINIMAL_VOLUME_MM3)
    lesions = match_lesions(prediction, truth, spacing_mm, thresholds)
    if has_lesions:
        measures |= voxel_measures(prediction, truth) | lesion_measures(lesions)
        if surfaces:
            measures |= surface_measures(prediction, truth, spacing_mm)
    else:
        measures["NbTestedLesions"] = float(len(lesions.predicted_mm3))
        measures["VolTestedLesions"] = float(lesions.predicted_mm3.sum())
    return Scores(measures, lesions, has_lesions)


def lesion_f1(
    prediction: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    spacing_mm: Spacing,
    minimal_volume_mm3: float = MINIMAL_VOLUME_MM3,
    alpha: float = DEFAULT_THRESHOLDS.alpha,
    beta: float = DEFAULT_THRESHOLDS.beta,
    gamma: float = DEFAULT_THRESHOLDS.gamma,
    mode: Mode = "organisers",
) -> float:
    """Return the lesion-wise F1 of a prediction, defined everywhere: the target that training learns.

    Where both masks have lesions above the minimum it is the tool's F1_score. Where neither has any it is 1,
    where one alone has none it is 0 (the tool gives no F1 for an empty truth, and 0 for two masks without a
    lesion above the minimum).
    `mode`: "organisers" is the tool's rule; "intersection" takes a lesion for detected as soon as it shares
    a voxel with a lesion of the other mask, and uses none of alpha, beta, gamma.
    """
    prediction, truth = _as_masks(prediction, truth)
    thresholds = Thresholds(minimal_volume_mm3, alpha, beta, gamma)
    lesions = match_lesions(prediction, truth, spacing_mm, thresholds, mode)
    if not len(lesions.truth_mm3) and not len(lesions.predicted_mm3):
        return 1.0
    return lesion_measures(lesions)["F1_score"]


def lesion_measures(lesions: LesionMatch) -> dict[str, float]:
    """Return PPVL, SensL and F1_score.

    Without predicted lesions PPVL is 0, without true ones SensL is nan, and F1 is 0 in both cases: so the tool.
    """
    ppvl = lesions.confirmed.mean() if len(lesions.confirmed) else 0.0
    sensl = lesions.detected.mean() if len(lesions.detected) else math.nan
    return {"PPVL": float(ppvl), "SensL": float(sensl), "F1_score": f1_of_rates(float(ppvl), float(sensl))}


def f1_of_rates(ppvl: float, sensl: float) -> float:
    """Return the harmonic mean of two rates; 0 where their sum is not above 0."""
    return 2 * ppvl * sensl / (ppvl + sensl) if ppvl + sensl > 0 else 0.0


def voxel_measures(prediction: NDArray[np.bool_], truth: NDArray[np.bool_]) -> dict[str, float]:
    """Return the measures on voxels of the whole image, lesions of any size; 0/0 is nan."""
    true_positive = int(np.count_nonzero(prediction & truth))
    predicted, true = int(np.count_nonzero(prediction)), int(np.count_nonzero(truth))
    false_positive, false_negative = predicted - true_positive, true - true_positive
    true_negative = truth.size - true_positive - false_positive - false_negative
    return {
        "Jaccard": _ratio(true_positive, true_positive + false_positive + false_negative),
        "Dice": _ratio(2 * true_positive, predicted + true),
        "Sensitivity": _ratio(true_positive, true),
        "Specificity": _ratio(true_negative, true_negative + false_positive),
        "PPV": _ratio(true_positive, predicted),
        "NPV": _ratio(true_negative, true_negative + false_negative),
        "RelativeVolumeError": _ratio(100 * (predicted - true), true),
    }


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _as_masks(
    prediction: NDArray[np.bool_], truth: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    if prediction.shape != truth.shape or prediction.ndim != 3:
        raise ValueError(f"masks of one 3D shape are needed, not {prediction.shape} and {truth.shape}")
    return np.asarray(prediction, dtype=np.bool_), np.asarray(truth, dtype=np.bool_)
