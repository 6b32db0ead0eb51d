"""Blob loss: each true lesion weighs the same, whatever its size.

Kofler et al., "blob loss: instance imbalance aware loss functions for semantic segmentation", arXiv 2205.08209.
"""

import torch
from torch import Tensor

from train.segmentation.losses import mean_over_patches, patches_with_lesions

# Per lesion, hence smaller than that of the pooled Dice: the smallest lesions have 4 voxels.
SMOOTHING_VOXELS = 1.0


def blob_loss(probabilities: Tensor, truth: Tensor) -> Tensor:
    """Return the mean over patches of the mean over their true lesions of 1 - soft Dice, a scalar.

    For a lesion, all other true lesions are masked out; false positives count against every lesion. Lesions are
    face-connected. Patches without lesions do not count, as published. Both inputs are (batch, x, y, z); the
    published total is twice the voxel-wise loss plus this one (here: alpha 0.5).

    Raises:
        ValueError: the shapes differ.
    """
    values = []
    for probability, _, labels, count in patches_with_lesions(probabilities, truth):
        label = torch.from_numpy(labels).long().to(probability.device).reshape(-1)
        # Sums for each label at once, 0 being the background.
        predicted = probability.new_zeros(count + 1).index_add(0, label, probability.reshape(-1))
        size = torch.bincount(label, minlength=count + 1).to(probability)
        overlap, outside = predicted[1:], predicted[0]
        dice = (2 * overlap + SMOOTHING_VOXELS) / (overlap + outside + size[1:] + SMOOTHING_VOXELS)
        values.append((1 - dice).mean())
    return mean_over_patches(values, probabilities)
