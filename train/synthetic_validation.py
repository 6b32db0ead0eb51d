"""Score a network on the fixed synthetic validation set, on its own 1 mm grid: quick enough to choose among checkpoints.

    python -m train.synthetic_validation --network RUN --cases runs/synthetic-cases [--backgrounds DIR] [--shapes FILE ...]

Simulation, normalisation, windows, threshold, evaluator. Of the 40 changed cases the mean F1, Dice, SensL and PPVL are
told; of the 20 without any change, the false lesions and their mm3 per case.
"""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from lesionwise.allowed import CERTAINTY, THRESHOLD
from lesionwise.commands.options import number_in
from lesionwise.evaluation import evaluate_pair
from lesionwise.files import check_outputs, text_writer, write_whole
from lesionwise.lesions import OperatingPoint, find_lesions, label_lesions
from lesionwise.simulation.timepoints import SPACING_MM
from train.commandline import COUNT, NOT_NEGATIVE, training_command
from train.error_pictures import JudgedCase, write_error_pictures
from train.predictor import open_predictor, predictor_options
from train.sources import EXISTING, FOLDER, open_sources
from train.synthetic_cases import CASES, kept_cases

CHANGED_MEASURES = ("F1_score", "Dice", "SensL", "PPVL")
UNCHANGED_MEASURES = ("NbTestedLesions", "VolTestedLesions")

LOGIT_EDGES = np.linspace(-12, 12, 241)
"""Between these the voxels of a case are counted by the logit of their probability."""


@dataclass(frozen=True)
class FoundLesion:
    """A lesion that was found, and whether the evaluator confirms it. `voxels`: counts by logit (see LOGIT_EDGES)."""

    volume_mm3: float
    voxels: list[int]
    confirmed: bool


@dataclass(frozen=True)
class CaseScores:
    """What a network scores on one case.

    `measures`: by operating point (`label`), the evaluator's names; a changed case has other ones than an unchanged one.
    `lesions`: those at the first point. `voxels`: counts of the brain's voxels by logit (see LOGIT_EDGES), outside and inside
    true lesions.
    """

    measures: dict[str, dict[str, float]]
    lesions: list[FoundLesion]
    voxels: list[list[int]]


def score_case(
    probability: NDArray[np.float32],
    truth: NDArray[np.bool_],
    brain: NDArray[np.bool_],
    points: Sequence[OperatingPoint],
    minimal_mm3: float = 3.0,
) -> CaseScores:
    """Score a probability map against the truth at several operating points; all arrays are (x, y, z) with 1 mm voxels."""
    measures, lesions = {}, []
    for number, point in enumerate(points):
        mask = find_lesions(probability, SPACING_MM, point, minimal_mm3)
        scores = evaluate_pair(mask, truth, SPACING_MM, surfaces=False)
        names = CHANGED_MEASURES if scores.has_lesions else UNCHANGED_MEASURES
        measures[label(point)] = {name: scores.measures[name] for name in names}
        if number == 0:
            confirmed = scores.lesions.confirmed if scores.has_lesions else [False] * mask.size
            labels = label_lesions(mask, SPACING_MM)
            found = [probability[labels == lesion] for lesion in range(1, labels.max() + 1)]
            lesions = [
                FoundLesion(len(p) * math.prod(SPACING_MM), count_voxels(p), bool(confirmed[k]))
                for k, p in enumerate(found)
            ]
    return CaseScores(
        measures, lesions, [count_voxels(probability[brain & (truth == of)]) for of in (False, True)]
    )


def count_voxels(probability: NDArray[np.float32]) -> list[int]:
    """Return how many probabilities (n) lie between the edges of LOGIT_EDGES; what lies beyond counts at the ends."""
    p = np.clip(probability.astype(np.float64), 1e-7, 1 - 1e-7)
    logits = np.clip(np.log(p / (1 - p)), LOGIT_EDGES[0], LOGIT_EDGES[-1])
    return [int(count) for count in np.histogram(logits, LOGIT_EDGES)[0]]


def label(point: OperatingPoint) -> str:
    """Return an operating point in words."""
    return f"threshold {point.threshold:g}, certainty {point.certainty:g}"


def summary(cases: Sequence[CaseScores], point: OperatingPoint) -> dict[str, float]:
    """Return the means over the changed cases and, as `false_lesions` and `false_mm3`, over the unchanged ones."""
    rows = [case.measures[label(point)] for case in cases]
    names = {name: name for name in CHANGED_MEASURES} | dict(
        zip(UNCHANGED_MEASURES, ("false_lesions", "false_mm3"), strict=True)
    )
    return {
        shown: float(np.mean(values))
        if (values := [row[name] for row in rows if name in row])
        else float("nan")
        for name, shown in names.items()
    }


def line(name: str, scores: dict[str, float]) -> str:
    """Return a summary as one line of text."""
    return f"{name:<30}" + "  ".join(f"{measure} {value:.3f}" for measure, value in scores.items())


def material_options(command: Any) -> Any:
    """Give a command the options of what synthetic cases are made from."""
    for option in (
        click.option("--shapes", multiple=True, type=EXISTING, help="Real lesion shapes, as for training."),
        click.option(
            "--backgrounds", type=FOLDER, help="Scans that train.backgrounds prepared; none: template alone."
        ),
    ):
        command = option(command)
    return command


@training_command("synthetic-validation")
@predictor_options
@click.option(
    "--cases",
    "folder",
    required=True,
    type=FOLDER,
    help="Where the cases are kept; made if they are missing.",
)
@click.option("--count", type=COUNT, default=CASES, show_default=True, help="Only the first so many cases.")
@material_options
@click.option(
    "--threshold",
    "thresholds",
    multiple=True,
    type=number_in(THRESHOLD),
    help="May be repeated.  [default: the weights']",
)
@click.option(
    "--certainty",
    "certainties",
    multiple=True,
    type=number_in(CERTAINTY),
    help="May be repeated.  [default: the weights']",
)
@click.option(
    "--minimal-mm3",
    type=NOT_NEGATIVE,
    default=3.0,
    show_default=True,
    help="Lesions that are not larger are left out.",
)
@click.option("--json", "scores_file", type=click.Path(path_type=Path), help="Also write each case's scores.")
@click.option("--pictures", type=FOLDER, help="Show each missed and each false lesion in this folder.")
def main(
    folder: Path,
    count: int,
    backgrounds: Path | None,
    shapes: tuple[Path, ...],
    thresholds: tuple[float, ...],
    certainties: tuple[float, ...],
    minimal_mm3: float,
    scores_file: Path | None,
    pictures: Path | None,
    **network: Any,
) -> None:
    """Score a network on the synthetic validation set."""
    if scores_file:
        check_outputs([scores_file], [])
    predictor = open_predictor(**network)
    sources = open_sources(backgrounds, shapes, None, None, 0, 0.0)
    points = [
        predictor.operating_point.but_for(threshold, certainty)
        for threshold in thresholds or (None,)
        for certainty in certainties or (None,)
    ]
    begin = time.perf_counter()
    scores = {}
    for name, pair in kept_cases(folder, count, sources.backgrounds, sources.shapes):
        probability = predictor.probability(pair)
        scores[name] = score_case(probability, pair.new_lesions, pair.brain, points, minimal_mm3)
        click.echo(line(name, next(iter(scores[name].measures.values()))), err=True)
        if pictures:
            found = find_lesions(probability, SPACING_MM, points[0], minimal_mm3)
            case = JudgedCase(
                pair.time1, pair.time2, probability, found, pair.new_lesions, np.eye(4), SPACING_MM
            )
            write_error_pictures(case, pictures, name)
    for point in points:
        click.echo(line(label(point), summary(list(scores.values()), point)))
    click.echo(f"{len(scores)} cases, {time.perf_counter() - begin:.0f} s", err=True)
    if scores_file:
        text = json.dumps({name: asdict(found) for name, found in scores.items()}) + "\n"
        write_whole({scores_file: text_writer(text)})


if __name__ == "__main__":
    main()
