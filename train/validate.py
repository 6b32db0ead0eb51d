"""Score weights on real pairs with the whole program, from the scans to the measures.

    python -m train.validate FOLDER ... [--weights DIR] [--truth ground_truth.nii.gz] [--json scores.json] [--record]
    python -m train.validate FOLDER ... --check

Each FOLDER is a patient in the challenge's layout. Real pairs are for validation: nothing is trained on them.
Told of each are the lesions found, the false ones and, where its truth has lesions, `MEASURES`.
`--record` stores in the weights' manifest what was measured and how (`Validation`), and brings the model card there up
to date; `--check` measures all that is stated there, as it was, and fails where it is otherwise. `--swapped` also takes
the times in the other order: what became darker is then new (`ground_truth_sign.nii.gz`, 2). `--reviewed` takes a table
of findings that are new to the eye and in no mask (`train.reviewed_findings`), and also tells the scores without
counting them as false.
Convolutions are computed in float32 unless asked otherwise, so that the scores are the same on all processors.
"""

import math
import tempfile
from collections.abc import Collection, Iterable
from pathlib import Path

import click

from lesionwise import evaluation
from lesionwise.case_files import Case
from lesionwise.challenge_layout import GROUND_TRUTH, TIME1, TIME2
from lesionwise.engine import Settings
from lesionwise.errors import InputError, UsageError
from lesionwise.evaluation import evaluate_pair
from lesionwise.evaluation_files import evaluate_files, read_evaluated_mask
from lesionwise.files import check_outputs, json_writer, write_whole
from lesionwise.inference import Windows
from lesionwise.pipeline import segment_case
from lesionwise.progress import Lines, Progress
from lesionwise.volume import check_same_grid, read_image, to_orientation
from lesionwise.weights import MANIFEST, REPOSITORY_FOLDER
from train.commandline import OneLineErrors, about_one, by_name
from train.error_pictures import JudgedCase, write_error_pictures
from train.model_card import CARD, COUNTS, MEASURES, REVIEWED, check_card
from train.reviewed_findings import Finding, read_findings, without_reviewed
from train.stated_scores import Scores, Validation, all_differences, record, stated_validation, with_mean

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)

SIGN = "ground_truth_sign.nii.gz"
DARKER = 2
"""The label in it of what became darker: new, where the times are swapped."""
ADVICE = "check its scans, or leave it out"
"""Where no brain is found: there is no option for brain masks."""


def validate(
    patient: Path, truth: str, settings: Settings, work: Path, pictures: Path | None = None
) -> dict[str, float]:
    """Segment one patient into `work` and return its `row` against the file `truth` beside the scans.

    `pictures`: a folder that gets pictures of what is missed and false.
    """
    output = work / f"{patient.name}.nii.gz"
    probabilities = work / f"{patient.name}_probabilities.nii.gz" if pictures else None
    case = Case(patient / TIME1, patient / TIME2, output, probabilities=probabilities)
    segment_case(case, settings, Progress(Lines()))
    if pictures and probabilities:
        files = (case.time1, case.time2, probabilities, output, patient / truth)
        time1, time2, probability, found, true = (to_orientation(read_image(file), "RAS") for file in files)
        judged = JudgedCase(
            *(time1.data, time2.data, probability.data, found.data > 0, true.data > 0),
            affine=true.affine,
            spacing_mm=true.spacing_mm,
        )
        write_error_pictures(judged, pictures, patient.name)
    return row(evaluate_files(output, patient / truth))


def validate_reviewed(patient: Path, truth: str, work: Path, findings: list[Finding]) -> dict[str, float]:
    """Return the `row` of a patient that `validate` segmented into `work`, findings not counted as false."""
    found, true = read_evaluated_mask(work / f"{patient.name}.nii.gz"), read_evaluated_mask(patient / truth)
    own = [finding for finding in findings if finding.patient == patient.name]
    left = without_reviewed(found.data, true.data, found.affine, found.spacing_mm, own)
    return row(evaluate_pair(left, true.data, found.spacing_mm))


def validate_swapped(patient: Path, settings: Settings, work: Path) -> dict[str, float]:
    """Segment one patient with time 2 first and return its `row` against what became darker (`SIGN`)."""
    output = work / f"{patient.name}_swapped.nii.gz"
    segment_case(Case(patient / TIME2, patient / TIME1, output), settings, Progress(Lines()))
    found, sign = read_evaluated_mask(output), read_image(patient / SIGN)
    check_same_grid(found, sign)
    return row(evaluate_pair(found.data, sign.data == DARKER, found.spacing_mm))


def row(found: evaluation.Scores) -> dict[str, float]:
    """Return the `MEASURES` that a patient has, none without lesions in the truth, and the `COUNTS`, which all have."""
    measures = {
        name: round(found.measures[name], 4) for name in MEASURES if math.isfinite(found.measures[name])
    }
    false_mm3 = found.lesions.predicted_mm3[~found.lesions.confirmed]
    counts = (len(found.lesions.predicted_mm3), len(false_mm3), round(float(false_mm3.sum()), 1))
    return measures | dict(zip(COUNTS, counts, strict=True))


def show(title: str, scores: Scores) -> None:
    """Print a table of scores."""
    click.echo(title)
    for name, row in scores.items():
        click.echo(line(name, row))


def line(name: str, row: dict[str, float]) -> str:
    """Return a row of scores as one line of text."""
    return f"{name:<24}" + "  ".join(f"{measure} {value:.3f}" for measure, value in row.items())


def told(name: str, row: dict[str, float]) -> dict[str, float]:
    """Return a row that was measured, and print it at once: it is known where a later patient fails."""
    click.echo(line(name, row), err=True)
    return row


def check_files(patients: Iterable[Path], names: Collection[str]) -> None:
    """Raise InputError where a patient's folder lacks one of the files: known before minutes are spent on the first."""
    missing = [patient / name for patient in patients for name in names if not (patient / name).is_file()]
    if missing:
        raise InputError(f"{missing[0]}: there is no such file; each patient needs {', '.join(names)}")


@click.command(cls=OneLineErrors)
@click.argument("patients", nargs=-1, required=True, type=FOLDER)
@click.option(
    "--weights",
    default=REPOSITORY_FOLDER,
    type=FOLDER,
    help="Folder of weights.  [default: those of the repository]",
)
@click.option("--truth", default=GROUND_TRUTH, show_default=True, help="The reference beside the scans.")
@click.option("--window", type=int, help="Edge of the windows in mm.  [default: the whole brain]")
@click.option("--threads", default=0, show_default=True, help="0: all that may be used.")
@click.option(
    "--precision",
    default="fp32",
    show_default=True,
    type=click.Choice(["auto", "fp32", "bf16"]),
    help="Of the convolutions.",
)
@click.option("--swapped", is_flag=True, help=f"Also swap the times, against what became darker ({SIGN}).")
@click.option(
    "--reviewed",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Table of findings that are new to the eye: also score without counting them as false.",
)
@click.option("--output", type=click.Path(path_type=Path), help="Keep the masks in this folder.")
@click.option(
    "--pictures", type=click.Path(path_type=Path), help="Show what is missed and false in this folder."
)
@click.option("--json", "scores_file", type=click.Path(path_type=Path), help="Also write the scores.")
@click.option(
    "--record", "recorded", is_flag=True, help="Store the scores in the weights' manifest and model card."
)
@click.option(
    "--check",
    is_flag=True,
    help="Measure all that the manifest states, as it says (truth, window, precision); fail if it differs.",
)
def main(
    patients: tuple[Path, ...],
    weights: Path,
    truth: str,
    window: int | None,
    threads: int,
    precision: str,
    swapped: bool,
    reviewed: Path | None,
    output: Path | None,
    pictures: Path | None,
    scores_file: Path | None,
    recorded: bool,
    check: bool,
) -> None:
    """Segment PATIENTS and print what each one scores, and the means over those that have a measure."""
    if check and recorded:
        raise UsageError("--check compares with what --record stored; give one of the two")
    folders = by_name(patients).values()
    changed = []
    if recorded:
        changed = [weights / MANIFEST, weights / CARD]
        check_card(weights)
    check_outputs([*changed, *([scores_file] if scores_file else [])], [])
    stated = stated_validation(weights) if check else None
    if stated:
        truth, window, precision = stated["reference"], stated["window"], stated["precision"]
        swapped = swapped or "swapped" in stated
        reviewed = reviewed or (weights / REVIEWED if "reviewed" in stated else None)
    check_files(folders, [TIME1, TIME2, truth, *([SIGN] if swapped else [])])
    settings = Settings(weights=weights, windows=Windows(window), threads=threads, precision=precision)
    findings = read_findings(reviewed) if reviewed else []
    rows: Scores = {}
    swapped_rows: Scores = {}
    reviewed_rows: Scores = {}
    with tempfile.TemporaryDirectory() as temporary:
        work = output or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        for patient in folders:
            name = patient.name
            with about_one(name, ADVICE):
                rows[name] = told(name, validate(patient, truth, settings, work, pictures))
                if reviewed:
                    own = validate_reviewed(patient, truth, work, findings)
                    reviewed_rows[name] = told(f"{name} reviewed", own)
                if swapped:
                    swapped_rows[name] = told(f"{name} swapped", validate_swapped(patient, settings, work))
    found: Validation = {
        "reference": truth,
        "window": window,
        "precision": precision,
        "scores": with_mean(rows),
    }
    show(f"against {truth}", found["scores"])
    if reviewed:
        found["reviewed"] = with_mean(reviewed_rows)
        show(f"findings of {reviewed.name} not counted as false", found["reviewed"])
    if swapped:
        found["swapped"] = with_mean(swapped_rows)
        show(f"times swapped, against what became darker ({SIGN})", found["swapped"])
    if scores_file:
        write_whole({scores_file: json_writer(found["scores"])})
    if recorded:
        record(weights, found)
    if stated:
        words = all_differences(found, stated)
        if words:
            raise InputError(f"{weights / MANIFEST} states other scores: {'; '.join(words)}")
        click.echo("as the manifest and the model card state")


if __name__ == "__main__":
    main()
