"""A cohort of predictions against its truths: which files belong together, their scores, the CSV of them."""

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lesionwise.challenge_layout import GROUND_TRUTH, SEGMENTATION
from lesionwise.errors import InputError
from lesionwise.evaluation import DEFAULT_THRESHOLDS, MEASURES, Scores, evaluate_pair
from lesionwise.evaluation_files import Notify, evaluate_files, read_evaluated_mask
from lesionwise.overlap import Thresholds
from lesionwise.texts import cell

COUNTS = ("truth_lesions", "detected_lesions", "predicted_lesions", "false_lesions")


@dataclass(frozen=True)
class Case:
    """One patient: the truth, and the prediction where there is one."""

    name: str
    truth: Path
    prediction: Path | None


@dataclass(frozen=True)
class Cohort:
    """The patients with a truth, and the names of what cannot be scored because it has none; `masks`: all files found."""

    cases: list[Case]
    without_truth: list[str]
    masks: list[Path]


@dataclass(frozen=True)
class CaseScores:
    """The scores of one patient; a missing prediction is scored as an empty one."""

    name: str
    predicted: bool
    scores: Scores


def find_cohort(
    predictions: Path,
    truths: Path,
    prediction_name: str = SEGMENTATION,
    truth_name: str = GROUND_TRUTH,
) -> Cohort:
    """Match the masks of two folders by the patient's name.

    A patient is a subfolder that holds a mask of the given name, or a NIfTI file, named without its ending.
    Raises `InputError` for what is no folder, a patient found twice, a folder that cannot be looked into, no truth at all, or
    no prediction of any of them.
    """
    predicted, truth = find_masks(predictions, prediction_name), find_masks(truths, truth_name)
    if not truth:
        raise InputError(
            f"{truths}: no truth found; it takes PATIENT/{truth_name} (or another --truth-name), or PATIENT.nii.gz"
        )
    if not truth.keys() & predicted.keys():
        raise InputError(
            f"{predictions}: no prediction found of any patient that has a truth; it takes PATIENT/{prediction_name}"
            " (or another --prediction-name), or PATIENT.nii.gz"
        )
    folders = {entry.name for entry in truths.iterdir() if entry.is_dir() and entry.name[0] != "."}
    return Cohort(
        cases=[Case(name, path, predicted.get(name)) for name, path in truth.items()],
        without_truth=sorted((folders | set(predicted)) - set(truth)),
        masks=[*truth.values(), *predicted.values()],
    )


def find_masks(folder: Path, name: str) -> dict[str, Path]:
    """Return each patient's mask below a folder, sorted by the patient's name. Raises as `find_cohort`."""
    if not folder.is_dir():
        raise InputError(f"{folder}: this is no folder; give two folders, or two files with -i and -r")
    masks: dict[str, Path] = {}
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        try:
            is_folder = entry.is_dir()
            path = entry / name if is_folder else entry
            is_mask = _is_there(path) and path.name.endswith((".nii", ".nii.gz"))
        except OSError as error:  # what may lie there must be neither left out nor scored as empty
            raise InputError(
                f"{entry}: cannot be looked into ({error.strerror}); get its permissions, or remove it"
            ) from error
        patient = entry.name if is_folder else entry.name.removesuffix(".gz").removesuffix(".nii")
        if is_mask:
            if patient in masks:
                raise InputError(f"{path} and {masks[patient]}: two masks of one patient; remove one")
            masks[patient] = path
    return dict(sorted(masks.items()))


def _is_there(path: Path) -> bool:
    """Tell whether a file is there, or a link that leads nowhere: reading it says so, instead of scoring it as empty."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


def evaluate_cohort(
    cohort: Cohort, notify: Notify, thresholds: Thresholds = DEFAULT_THRESHOLDS
) -> list[CaseScores]:
    """Score each patient, a missing prediction as an empty mask.

    Raises `InputError` for the first file that cannot be used: a broken prediction is not a missing one.
    """
    results = []
    for case in cohort.cases:
        if case.prediction is None:
            truth = read_evaluated_mask(case.truth, notify)
            nothing = np.zeros_like(truth.data)
            scores = evaluate_pair(nothing, truth.data, truth.spacing_mm, thresholds)
        else:
            scores = evaluate_files(case.prediction, case.truth, thresholds, notify)
        results.append(CaseScores(case.name, case.prediction is not None, scores))
    return results


def scores_table(results: list[CaseScores]) -> str:
    """Return the CSV: one line a patient, measures as the tool prints them (6 decimals), nan left empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "prediction", *MEASURES, *COUNTS])
    for result in results:
        measures, lesions = result.scores.measures, result.scores.lesions
        printed = ["" if math.isnan(measures[name]) else f"{measures[name]:.6f}" for name in MEASURES]
        counts = [
            len(lesions.detected),
            int(lesions.detected.sum()),
            len(lesions.confirmed),
            int((~lesions.confirmed).sum()),
        ]
        writer.writerow([cell(result.name), "found" if result.predicted else "missing", *printed, *counts])
    return text.getvalue()
