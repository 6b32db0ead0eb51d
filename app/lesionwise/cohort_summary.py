"""What a cohort scores as a whole: patients with new lesions, patients without, and lesions by their size."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionwise.cohort_evaluation import CaseScores, Cohort
from lesionwise.texts import visible

SUMMARY_MEASURES = ("F1_score", "Dice", "SensL", "PPVL")

SIZE_LIMITS_MM3 = (10.0, 50.0, 200.0)
SIZE_NAMES = ("<10", "10-50", "50-200", ">200")
"""Classes of lesion volume; 10 and 50 mm3 belong to the larger class, 200 to the smaller."""

RESAMPLES = 10_000
SEED = 0


@dataclass(frozen=True)
class Mean:
    """A mean over patients with its 95 % bootstrap interval; nan where there are no patients."""

    mean: float
    low: float
    high: float
    patients: int


@dataclass(frozen=True)
class SizeClass:
    """All patients' lesions of one class of volume."""

    size_mm3: str
    truth_lesions: int
    detected_lesions: int
    false_lesions: int


@dataclass(frozen=True)
class Summary:
    """The cohort in numbers. `with_lesions`: by measure, over patients whose truth has lesion voxels."""

    patients_with_lesions: int
    with_lesions: dict[str, Mean]
    patients_without_lesions: int
    false_lesions: Mean
    false_mm3: Mean
    by_size: list[SizeClass]
    missing_predictions: list[str]
    without_truth: list[str]

    def as_json(self) -> dict[str, Any]:
        """Return plain values for JSON, nan as None."""
        plain: dict[str, Any] = without_nan(asdict(self))
        return plain


def summarize(results: list[CaseScores], cohort: Cohort) -> Summary:
    """Sum up a cohort's scores."""
    changed = [result.scores for result in results if result.scores.has_lesions]
    stable = [result.scores for result in results if not result.scores.has_lesions]
    return Summary(
        patients_with_lesions=len(changed),
        with_lesions={
            name: bootstrap_mean([scores.measures[name] for scores in changed]) for name in SUMMARY_MEASURES
        },
        patients_without_lesions=len(stable),
        false_lesions=bootstrap_mean([scores.measures["NbTestedLesions"] for scores in stable]),
        false_mm3=bootstrap_mean([scores.measures["VolTestedLesions"] for scores in stable]),
        by_size=_by_size(results),
        missing_predictions=[result.name for result in results if not result.predicted],
        without_truth=cohort.without_truth,
    )


def bootstrap_mean(values: list[float]) -> Mean:
    """Return the mean of the values that are no nan, and the percentile interval of 10 000 resamples of them."""
    known = np.array([value for value in values if not math.isnan(value)])
    if len(known) == 0:
        return Mean(math.nan, math.nan, math.nan, 0)
    random = np.random.default_rng(SEED)
    means = known[random.integers(len(known), size=(RESAMPLES, len(known)))].mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return Mean(float(known.mean()), float(low), float(high), len(known))


def summary_lines(summary: Summary) -> list[str]:
    """Return the summary for people."""
    lines = [f"patients with new lesions: {summary.patients_with_lesions}"]
    for name, mean in summary.with_lesions.items():
        lines.append(f"  {name:<14}{_mean_text(mean, 3)}")
    lines.append(f"patients without new lesions: {summary.patients_without_lesions}")
    lines.append(f"  {'false lesions':<14}{_mean_text(summary.false_lesions, 2)}")
    lines.append(f"  {'false mm3':<14}{_mean_text(summary.false_mm3, 1)}")
    lines.append("all patients, by lesion volume (mm3)")
    for size in summary.by_size:
        share = f"{size.detected_lesions}/{size.truth_lesions} detected"
        lines.append(f"  {size.size_mm3:<14}{share:<18}{size.false_lesions} false")
    if summary.missing_predictions:
        lines.append(f"no prediction, scored as empty: {_names(summary.missing_predictions)}")
    if summary.without_truth:
        lines.append(f"no truth, not scored: {_names(summary.without_truth)}")
    return lines


def _names(patients: Sequence[str]) -> str:
    return ", ".join(map(visible, patients))


def without_nan(value: Any) -> Any:
    """Return dicts, lists and numbers with every nan as None, which JSON writes as null."""
    match value:
        case dict():
            return {key: without_nan(item) for key, item in value.items()}
        case list():
            return [without_nan(item) for item in value]
        case float() if math.isnan(value):
            return None
        case _:
            return value


def _by_size(results: list[CaseScores]) -> list[SizeClass]:
    lesions = [result.scores.lesions for result in results]
    truth = _size_class(np.concatenate([match.truth_mm3 for match in lesions]))
    predicted = _size_class(np.concatenate([match.predicted_mm3 for match in lesions]))
    detected = np.concatenate([match.detected for match in lesions])
    false = ~np.concatenate([match.confirmed for match in lesions])
    return [
        SizeClass(
            name, *(int(part.sum()) for part in (truth == i, detected[truth == i], false[predicted == i]))
        )
        for i, name in enumerate(SIZE_NAMES)
    ]


def _size_class(volumes_mm3: NDArray[np.float64]) -> NDArray[np.int64]:
    small, medium, large = SIZE_LIMITS_MM3
    return 0 + (volumes_mm3 >= small) + (volumes_mm3 >= medium) + (volumes_mm3 > large)


def _mean_text(mean: Mean, decimals: int) -> str:
    if mean.patients == 0:
        return "-"
    interval = f"{mean.mean:.{decimals}f}  [{mean.low:.{decimals}f}, {mean.high:.{decimals}f}]"
    return f"{interval}  ({mean.patients} patients)"
