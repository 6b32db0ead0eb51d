"""The fixed held-out cases of the ablation: of the synthetic validation set, with and without change, and real pairs."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from lesionwise.evaluation import evaluate_pair
from lesionwise.lesions import find_lesions
from lesionwise.simulation.timepoints import SPACING_MM, SyntheticPair
from train.patients import cached, load
from train.predictor import Predictor
from train.synthetic_cases import CASES, cut, is_unchanged, kept_cases

PAIR_TRUTH, PAIR_BRAIN = "ground_truth_new_bright.nii.gz", "brain_mask_flair.nii.gz"

BLOCK_MM = 96
"""Of each synthetic case a cube of this edge is scored: a sixth of a brain, so that twelve trainings can be."""

Scores = dict[str, float]


def held_out_cases(
    folder: Path, each: int, backgrounds: Sequence[Path], shapes: Sequence[np.ndarray], pairs: Path | None
) -> Iterator[tuple[str, SyntheticPair]]:
    """Yield cases with their names, made in `folder` where it does not hold them.

    The first `each` changed and the first `each` unchanged cases of the synthetic validation set, a block of each; and the
    real pairs in the folder `pairs`, whole.
    """
    left = {True: each, False: each}
    for number, (name, pair) in enumerate(kept_cases(folder, CASES, backgrounds, shapes)):
        if left[is_unchanged(number)]:
            left[is_unchanged(number)] -= 1
            yield f"synthetic-{name}", block(pair)
        if not any(left.values()):
            break
    for patient in sorted(pairs.iterdir()) if pairs else ():
        if (patient / PAIR_TRUTH).is_file():
            file = cached(patient, folder, truth_file=PAIR_TRUTH, brain_file=PAIR_BRAIN)
            yield f"pair-{patient.name}", load(file)


def block(pair: SyntheticPair, edge: int = BLOCK_MM) -> SyntheticPair:
    """Return the cube around the middle of the new lesions, or of the brain where there are none; cut where the grid ends."""
    shown = pair.new_lesions if pair.new_lesions.any() else pair.brain
    starts = [
        int(np.clip(round(middle) - edge // 2, 0, max(0, length - edge)))
        for middle, length in zip(ndimage.center_of_mass(shown), shown.shape, strict=True)
    ]
    return cut(pair, tuple(slice(start, start + edge) for start in starts))


def score(predictor: Predictor, case: SyntheticPair) -> Scores:
    """Return the measures of a network on a case, on the network's 1 mm grid; those that are no number are left out."""
    mask = find_lesions(predictor.probability(case), SPACING_MM, predictor.operating_point)
    measures = evaluate_pair(mask, case.new_lesions, SPACING_MM, surfaces=False).measures
    return {name: value for name, value in measures.items() if np.isfinite(value)}
