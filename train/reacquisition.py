"""A scan against itself scanned again, in which nothing is new: all that a network finds is false.

    python -m train.reacquisition --backgrounds DIR [--network RUN] [--times 20]

DIR holds scans that `train.backgrounds` prepared. Each copy has its own contrast, resolution, noise, shading and registration
error, drawn as for training and not near those of the scan: another protocol. Time 1 is the scan as it is.
"""

from pathlib import Path
from typing import Any

import click
import numpy as np

from lesionwise.allowed import CERTAINTY, THRESHOLD
from lesionwise.commands.options import number_in
from lesionwise.lesions import find_lesions, label_lesions
from lesionwise.simulation.acquisition import Acquisition, acquire, coverage
from lesionwise.simulation.anatomy import Anatomy
from lesionwise.simulation.timepoints import SPACING_MM, SyntheticPair
from train.backgrounds import load
from train.commandline import COUNT, training_command
from train.patches import normalised
from train.predictor import open_predictor, predictor_options
from train.sources import open_sources
from train.synthetic_cases import cropped

SEED = 810_017
TIMES = 20


def scanned_again(anatomy: Anatomy, rng: np.random.Generator) -> SyntheticPair:
    """Return a scan (time 1) and a re-acquisition of it (time 2): a pair with no lesion that is new."""
    scan = Acquisition.random(rng)
    again = acquire(anatomy.flair, anatomy.grey, scan, rng)
    brain = anatomy.brain & (coverage(anatomy.flair.shape, scan) > 0.3)
    return cropped(
        normalised(SyntheticPair(anatomy.flair, again, brain, np.zeros_like(brain), anatomy.old_lesions))
    )


@training_command("reacquisition")
@predictor_options
@click.option(
    "--backgrounds",
    required=True,
    type=click.Path(exists=True, path_type=Path),
    help="Scans that train.backgrounds prepared.",
)
@click.option("--times", type=COUNT, default=TIMES, show_default=True, help="Re-acquisitions of each scan.")
@click.option("--threshold", type=number_in(THRESHOLD), help="[default: the weights']")
@click.option(
    "--certainty",
    type=number_in(CERTAINTY),
    help="Probability that a lesion must exceed in the mean of its voxels' log odds.  [default: the weights']",
)
def main(
    backgrounds: Path, times: int, threshold: float | None, certainty: float | None, **network: Any
) -> None:
    """Count what a network finds between scans and their re-acquisitions."""
    predictor = open_predictor(**network)
    point = predictor.operating_point.but_for(threshold, certainty)
    rows = []
    for number, file in enumerate(open_sources(backgrounds, (), None, None, 0, 0.0).backgrounds):
        anatomy = load(file)
        own = []
        for time in range(times):
            pair = scanned_again(anatomy, np.random.default_rng((SEED, number, time)))
            mask = find_lesions(predictor.probability(pair), SPACING_MM, point)
            own.append((int(label_lesions(mask, SPACING_MM).max()), int(mask.sum())))
        rows += own
        click.echo(_line(file.stem, own))
    click.echo(_line("all", rows))


def _line(name: str, rows: list[tuple[int, int]]) -> str:
    lesions, volume_mm3 = np.mean(rows, axis=0)
    return f"{name:<24}{len(rows)} cases  false lesions {lesions:.3f}  mm3 {volume_mm3:.2f} a case"


if __name__ == "__main__":
    main()
