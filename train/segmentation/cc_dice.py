"""CC-Dice: the Dice around each true lesion, all lesions weighing the same.

CC-DiceCE: Bouteille et al., arXiv 2511.17146, after the CC-Metrics of Jaus et al., arXiv 2410.18684.
"""

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from train.segmentation.losses import mean_over_patches, patches_with_lesions

SMOOTHING_VOXELS = 1.0


def cc_dice_loss(probabilities: Tensor, truth: Tensor) -> Tensor:
    """Return the mean over patches of the mean over their true lesions of 1 - soft Dice in the lesion's cell, a scalar.

    A lesion's cell holds the voxels that are nearer to it than to any other (Voronoi), so that a false positive counts
    against the nearest lesion alone. Lesions are face-connected. Patches without lesions have no cells and do not count.
    Both inputs are (batch, x, y, z).

    Raises:
        ValueError: the shapes differ.
    """
    values = []
    for probability, true, labels, count in patches_with_lesions(probabilities, truth):
        cell = torch.from_numpy(cells(labels)).to(probability.device).reshape(-1) - 1
        flat, flat_true = probability.reshape(-1), true.reshape(-1).to(probability)
        overlap, predicted, size = (
            probability.new_zeros(count).index_add(0, cell, part)
            for part in (flat * flat_true, flat, flat_true)
        )
        dice = (2 * overlap + SMOOTHING_VOXELS) / (predicted + size + SMOOTHING_VOXELS)
        values.append((1 - dice).mean())
    return mean_over_patches(values, probabilities)


def cells(labels: np.ndarray) -> np.ndarray:
    """Return for each voxel the number of the lesion nearest to it, int64, given the numbered lesions, at least one."""
    nearest = ndimage.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
    return np.asarray(labels[tuple(nearest)], dtype=np.int64)
