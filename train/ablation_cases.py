"""The fixed held-out cases of the ablation: synthetic ones with and without new lesions, and real validation pairs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from lesionwise.evaluation import evaluate_pair
from lesionwise.inference import network_runner, predict_probabilities
from lesionwise.lesions import remove_small_lesions
from lesionwise.network import UNet
from lesionwise.simulation.timepoints import SyntheticPair
from train.metric_network.targets import SPACING_MM
from train.patients import load, prepare
from train.synthetic_cases import make_case

CASES_SEED = 424_243
"""Of all runs' held-out cases: the same ones whatever the seed of a training."""

PAIR_TRUTH, PAIR_BRAIN = "ground_truth_new_bright.nii.gz", "brain_mask_flair.nii.gz"

Scores = dict[str, float]


def kept_cases(
    folder: Path, count: int, backgrounds: Sequence[Path], shapes: Sequence[np.ndarray], pairs: Path | None
) -> dict[str, Path]:
    """Return the cases' files by name, made where they are missing; half of the synthetic ones have no new lesion."""
    folder.mkdir(parents=True, exist_ok=True)
    cases = {}
    for number in range(count):
        cases[f"synthetic-{number:03d}"] = file = folder / f"synthetic-{number:03d}.npz"
        if not file.is_file():
            without = ("new",) if number // 2 % 2 else ()
            _keep(file, make_case(CASES_SEED, number, without, backgrounds, shapes))
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
