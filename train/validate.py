"""Score weights on real pairs with the whole program, from the scans to the measures.

    python -m train.validate FOLDER ... [--weights DIR] [--truth ground_truth.nii.gz] [--json scores.json]

Each FOLDER is a patient in the challenge's layout. Real pairs are for validation: nothing is trained on them.
"""

import json
import statistics
import tempfile
from pathlib import Path

import click

from lesionwise.challenge_layout import GROUND_TRUTH, TIME1, TIME2
from lesionwise.engine import Settings
from lesionwise.evaluation_files import evaluate_files
from lesionwise.inference import Windows
from lesionwise.pipeline import Case, segment_case
from lesionwise.progress import Lines, Progress

REPORTED = ("F1_score", "Dice", "SensL", "PPVL")
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


def validate(patient: Path, truth: str, settings: Settings, work: Path) -> dict[str, float]:
    """Segment one patient into `work` and return the measures of `REPORTED` against the file `truth` beside the scans."""
    output = work / f"{patient.name}.nii.gz"
    segment_case(Case(patient / TIME1, patient / TIME2, output), settings, Progress(Lines()))
    measures = evaluate_files(output, patient / truth).measures
    return {name: round(measures[name], 4) for name in REPORTED}


@click.command()
@click.argument("patients", nargs=-1, required=True, type=FOLDER)
@click.option("--weights", type=FOLDER, help="Folder of weights.  [default: those of the repository]")
@click.option("--truth", default=GROUND_TRUTH, show_default=True, help="The reference beside the scans.")
@click.option("--overlap", default=0.5, show_default=True, help="Overlap of neighbouring windows.")
@click.option("--window", type=int, help="Edge of the windows in mm.  [default: the whole brain]")
@click.option("--threads", default=0, show_default=True, help="0: all that may be used.")
@click.option("--output", type=click.Path(path_type=Path), help="Keep the masks in this folder.")
@click.option("--json", "scores_file", type=click.Path(path_type=Path), help="Also write the scores.")
def main(
    patients: tuple[Path, ...],
    weights: Path | None,
    truth: str,
    overlap: float,
    window: int | None,
    threads: int,
    output: Path | None,
    scores_file: Path | None,
) -> None:
    """Segment PATIENTS and print each one's measures and their mean."""
    settings = Settings(weights=weights, windows=Windows(window, overlap), threads=threads)
    scores: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        work = output or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        for patient in patients:
            scores[patient.name] = validate(patient, truth, settings, work)
    scores["mean"] = {
        name: round(statistics.fmean(case[name] for case in scores.values()), 4) for name in REPORTED
    }
    for name, row in scores.items():
        click.echo(f"{name:<24}" + "  ".join(f"{measure} {value:.3f}" for measure, value in row.items()))
    if scores_file:
        scores_file.write_text(json.dumps(scores, indent=2) + "\n")


if __name__ == "__main__":
    main()
