"""Score weights on real pairs with the whole program, from the scans to the measures.

    python -m train.validate FOLDER ... [--weights DIR] [--truth ground_truth.nii.gz] [--json scores.json] [--record]

Each FOLDER is a patient in the challenge's layout. Real pairs are for validation: nothing is trained on them.
`--record` stores in the weights' manifest what was measured and how (`Validation`), and brings the model card there up
to date. Convolutions are computed in float32 unless asked otherwise, so that the scores are the same on all processors.
"""

import json
import statistics
import tempfile
from pathlib import Path
from typing import Any, TypedDict

import click

from lesionwise.challenge_layout import GROUND_TRUTH, TIME1, TIME2
from lesionwise.engine import Settings
from lesionwise.evaluation_files import evaluate_files
from lesionwise.files import json_writer, write_whole
from lesionwise.pipeline import Case, segment_case
from lesionwise.progress import Lines, Progress
from lesionwise.weights import MANIFEST, find_weights
from train.commandline import OneLineErrors
from train.model_card import MEASURES, refresh

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
Scores = dict[str, dict[str, float]]


class Validation(TypedDict):
    """The entry `validation` of a manifest; an empty one says that nothing was measured.

    `reference` is the truth's name beside the scans; `scores` has a row of `MEASURES` for each patient, by the name of
    its folder, and one for their "mean".
    """

    reference: str
    overlap: float
    precision: str
    scores: Scores


def validate(patient: Path, truth: str, settings: Settings, work: Path) -> dict[str, float]:
    """Segment one patient into `work` and return the `MEASURES` against the file `truth` beside the scans."""
    output = work / f"{patient.name}.nii.gz"
    segment_case(Case(patient / TIME1, patient / TIME2, output), settings, Progress(Lines()))
    measures = evaluate_files(output, patient / truth).measures
    return {name: round(measures[name], 4) for name in MEASURES}


def with_mean(scores: Scores) -> Scores:
    """Return the rows and their mean."""
    mean = {name: round(statistics.fmean(row[name] for row in scores.values()), 4) for name in MEASURES}
    return {**scores, "mean": mean}


def record(folder: Path, validation: Validation) -> None:
    """Put what was measured into the manifest of a folder of weights, and into the model card beside it."""
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    write_whole({folder / MANIFEST: json_writer({**manifest, "validation": validation})})
    refresh(folder)


@click.command(cls=OneLineErrors)
@click.argument("patients", nargs=-1, required=True, type=FOLDER)
@click.option("--weights", type=FOLDER, help="Folder of weights.  [default: those of the repository]")
@click.option("--truth", default=GROUND_TRUTH, show_default=True, help="The reference beside the scans.")
@click.option("--overlap", default=0.5, show_default=True, help="Overlap of neighbouring windows.")
@click.option("--threads", default=0, show_default=True, help="0: all that may be used.")
@click.option(
    "--precision",
    default="fp32",
    show_default=True,
    type=click.Choice(["auto", "fp32", "bf16"]),
    help="Of the convolutions.",
)
@click.option("--output", type=click.Path(path_type=Path), help="Keep the masks in this folder.")
@click.option("--json", "scores_file", type=click.Path(path_type=Path), help="Also write the scores.")
@click.option(
    "--record", "recorded", is_flag=True, help="Store the scores in the weights' manifest and model card."
)
def main(
    patients: tuple[Path, ...],
    weights: Path | None,
    truth: str,
    overlap: float,
    threads: int,
    precision: str,
    output: Path | None,
    scores_file: Path | None,
    recorded: bool,
) -> None:
    """Segment PATIENTS and print each one's measures and their mean."""
    folder = find_weights(weights)
    settings = Settings(weights=folder, overlap=overlap, threads=threads, precision=precision)
    rows: Scores = {}
    with tempfile.TemporaryDirectory() as temporary:
        work = output or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        for patient in patients:
            rows[patient.name] = validate(patient, truth, settings, work)
    scores = with_mean(rows)
    for name, row in scores.items():
        click.echo(f"{name:<24}" + "  ".join(f"{measure} {value:.3f}" for measure, value in row.items()))
    if scores_file:
        scores_file.write_text(json.dumps(scores, indent=2) + "\n")
    if recorded:
        record(folder, {"reference": truth, "overlap": overlap, "precision": precision, "scores": scores})


if __name__ == "__main__":
    main()
