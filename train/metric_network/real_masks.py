"""Real lesion masks of whole heads for the metric network's pairs: of folders, and the truths of patients."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lesionwise.challenge_layout import GROUND_TRUTH
from lesionwise.errors import InputError
from lesionwise.network_grid import network_grid
from lesionwise.volume import read_mask
from train.lesion_shapes import read_1mm_mask
from train.metric_network.placed_lesions import Mask
from train.patients import find_patients, training_and_held_out


def masks_of_folders(folders: Sequence[Path]) -> list[Mask]:
    """Return the lesion masks (x, y, z) of folders of `.nii.gz` of 1 mm; those without lesions are left out.

    Raises:
        InputError: a folder holds none, or a file is none.
    """
    masks = []
    for folder in folders:
        files = sorted(folder.glob("*.nii.gz"))
        if not files:
            raise InputError(f"{folder}: there is no .nii.gz in it; name a folder of lesion masks")
        masks += [read_1mm_mask(file) for file in files]
    return [mask for mask in masks if mask.any()]


def truths_of_patients(data: Path | None, fold: int) -> tuple[list[Mask], list[Mask]]:
    """Return the truths (x, y, z) of the patients in a folder to train with and of those that stage 2 holds out.

    They are brought to 1 mm voxels; those without lesions are left out.
    """
    if data is None:
        return [], []

    def masks(patients: Sequence[Path]) -> list[Mask]:
        truths = [read_mask(patient / GROUND_TRUTH) for patient in patients]
        grids = [(network_grid(t.data, t.affine, margin_mm=0.0), t) for t in truths if t.data.any()]
        found = [grid.to_network(truth.data.astype(np.float32)) > 0.5 for grid, truth in grids]
        return [mask for mask in found if mask.any()]

    training, held_out = training_and_held_out(find_patients(data), fold)
    return masks(training), masks(held_out)
