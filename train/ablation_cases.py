"""The fixed held-out cases of the ablation: synthetic ones with and without new lesions, and real validation pairs."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from lesionwise.evaluation import evaluate_pair
from lesionwise.inference import network_runner, predict_probabilities
from lesionwise.lesions import remove_small_lesions
from lesionwise.network import UNet
from lesionwise.preprocessing.normalization import normalize
from lesionwise.simulation.anatomy import deformed, random_anatomy
from lesionwise.simulation.timepoints import LesionPlan, SyntheticPair, simulate_pair
from train.backgrounds import load as load_background
from train.metric_network.targets import SPACING_MM
from train.patients import load, prepare

CASES_SEED = 424_243
"""Of all runs' held-out cases: the same ones whatever the seed of a training."""

PAIR_TRUTH, PAIR_BRAIN = "ground_truth_new_bright.nii.gz", "brain_mask_flair.nii.gz"

Scores = dict[str, float]


def synthetic_case(
    number: int, with_new: bool, backgrounds: Sequence[Path], shapes: Sequence[np.ndarray]
) -> SyntheticPair:
    """Return a held-out case; even numbers from the template, odd ones from a real background where there is one."""
    rng = np.random.default_rng((CASES_SEED, number))
    if backgrounds and number % 2:
        anatomy = deformed(load_background(backgrounds[number // 2 % len(backgrounds)]), rng)
    else:
        anatomy = random_anatomy(rng)
    plan = LesionPlan.random(rng, unchanged_share=0.0)
    while True:
        pair = simulate_pair(anatomy, rng, shapes, plan if with_new else replace(plan, new=0))
        if pair.new_lesions.any() == with_new:
            break
    time1, time2 = (normalize(image, pair.brain) * pair.brain for image in (pair.time1, pair.time2))
    return SyntheticPair(time1, time2, pair.brain, pair.new_lesions, pair.old_lesions)


def kept_cases(
    folder: Path, count: int, backgrounds: Sequence[Path], shapes: Sequence[np.ndarray], pairs: Path | None
) -> dict[str, Path]:
    """Return the cases' files by name, made where they are missing; every second synthetic one has no new lesion."""
    folder.mkdir(parents=True, exist_ok=True)
    cases = {}
    for number in range(count):
        cases[f"synthetic-{number:03d}"] = file = folder / f"synthetic-{number:03d}.npz"
        if not file.is_file():
            _keep(file, synthetic_case(number, number // 2 % 2 == 0, backgrounds, shapes))
    for patient in sorted(pairs.iterdir()) if pairs else ():
        if (patient / PAIR_TRUTH).is_file():
            cases[f"pair-{patient.name}"] = file = folder / f"pair-{patient.name}.npz"
            if not file.is_file():
                _keep(file, prepare(patient, truth_file=PAIR_TRUTH, brain_file=PAIR_BRAIN))
    return cases


def score(network: UNet, file: Path, threads: int, threshold: float = 0.5) -> Scores:
    """Return the measures of a network on a case, on the network's 1 mm grid, in windows side by side."""
    torch.set_num_threads(threads)
    case = load(file)
    probability = predict_probabilities(
        network_runner(network, torch.device("cpu"), torch.float32),
        case.time1,
        case.time2,
        case.brain,
        overlap=0,
    )
    mask = remove_small_lesions((probability > threshold) & case.brain, SPACING_MM)
    measures = evaluate_pair(mask, case.new_lesions, SPACING_MM, surfaces=False).measures
    return {name: value for name, value in measures.items() if np.isfinite(value)}


def _keep(file: Path, pair: SyntheticPair) -> None:
    part = file.with_suffix(".part.npz")
    arrays = {n: a if a.dtype == bool else a.astype(np.float16) for n, a in vars(pair).items()}
    np.savez_compressed(part, **arrays)
    part.replace(file)
