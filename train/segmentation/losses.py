"""Voxel-wise losses of the segmentation network. Probabilities and truths are (batch, x, y, z) in [0, 1].

The batch is that of all processes together: see `train.distributed`.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from train.distributed import processes, summed

# Added to both parts of the ratio: a batch without any lesion has a loss near 0 where nothing is predicted.
SMOOTHING_VOXELS = 10.0


def dice_loss(probabilities: Tensor, truth: Tensor) -> Tensor:
    """Return 1 - soft Dice of the foreground over the whole batch (paper, equation 1), a scalar.

    The batch is pooled, so that patches without lesions count by their false positives.

    Raises:
        ValueError: the shapes differ.
    """
    check_shapes(probabilities, truth)
    overlap = summed((probabilities * truth).sum())
    total = summed(probabilities.sum() + truth.sum())
    return 1 - (2 * overlap + SMOOTHING_VOXELS) / (total + SMOOTHING_VOXELS)


def cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    """Return the mean cross-entropy of logits (batch, 2, x, y, z), background first, over all voxels of the batch."""
    return summed(functional.cross_entropy(logits, truth.long())) / processes()


def patches_with_lesions(
    probabilities: Tensor, truth: Tensor
) -> Iterator[tuple[Tensor, Tensor, NDArray[np.int32], int]]:
    """Yield (probability, truth, numbered face-connected true lesions, their count) of each patch that has any.

    Raises:
        ValueError: the shapes differ.
    """
    check_shapes(probabilities, truth)
    for probability, true in zip(probabilities, truth, strict=True):
        labels, count = ndimage.label(true.detach().cpu().numpy() > 0.5)
        if count:
            yield probability, true, labels, count


def mean_over_patches(values: list[Tensor], like: Tensor) -> Tensor:
    """Return the mean of the patches' values over all processes; 0 where no process has any.

    `like` gives device and type, and keeps the graph whole where this process has no value.
    """
    total = torch.stack(values).sum() if values else 0 * like.sum()
    count = summed(torch.tensor(float(len(values)), device=like.device))
    return summed(total) / count.clamp(min=1)


def check_shapes(probabilities: Tensor, truth: Tensor) -> None:
    """Raise ValueError where the shapes differ."""
    if probabilities.shape != truth.shape:
        raise ValueError(
            f"probabilities {tuple(probabilities.shape)} and truth {tuple(truth.shape)} differ in shape"
        )
