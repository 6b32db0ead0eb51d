"""Voxel-wise losses of the segmentation network. Probabilities and truths are (batch, x, y, z) in [0, 1]."""

import torch
from torch import Tensor
from torch.nn import functional

# Added to both parts of the ratio: a batch without any lesion has a loss near 0 where nothing is predicted.
SMOOTHING_VOXELS = 10.0


def dice_loss(probabilities: Tensor, truth: Tensor) -> Tensor:
    """Return 1 - soft Dice of the foreground over the whole batch (paper, equation 1), a scalar.

    The batch is pooled, so that patches without lesions count by their false positives.

    Raises:
        ValueError: the shapes differ.
    """
    if probabilities.shape != truth.shape:
        raise ValueError(
            f"probabilities {tuple(probabilities.shape)} and truth {tuple(truth.shape)} differ in shape"
        )
    overlap = (probabilities * truth).sum()
    total = probabilities.sum() + truth.sum()
    return 1 - (2 * overlap + SMOOTHING_VOXELS) / (total + SMOOTHING_VOXELS)


def segmentation_loss(
    logits: Tensor, truth: Tensor, cross_entropy: float = 0.0
) -> tuple[Tensor, dict[str, float]]:
    """Return the loss of a batch and its parts for the log.

    Args:
        logits: (batch, 2, x, y, z), background first.
        truth: (batch, x, y, z), 0 or 1.
        cross_entropy: weight of the mean cross-entropy beside the Dice loss (the paper: 0).
    """
    logits = logits.float()
    dice = dice_loss(logits.softmax(1)[:, 1], truth)
    parts = {"dice_loss": float(dice.detach())}
    if not cross_entropy:
        return dice, parts
    entropy = functional.cross_entropy(logits, truth.long())
    parts["cross_entropy"] = float(entropy.detach())
    total: Tensor = dice + cross_entropy * entropy
    return total, parts


def hard_dice_counts(logits: Tensor, truth: Tensor) -> tuple[int, int, int]:
    """Return true positive, predicted and true voxels of a batch, at probability 0.5."""
    predicted = logits[:, 1] > logits[:, 0]
    true = truth > 0.5
    return int((predicted & true).sum()), int(predicted.sum()), int(torch.count_nonzero(true))
