"""The total loss of stage 2: voxel-wise plus alpha times lesion-wise (paper, equation 3)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from train.distributed import processes, summed
from train.segmentation.losses import cross_entropy, dice_loss

LesionLoss = Callable[[Tensor, Tensor], Tensor]
"""Probabilities and truth (batch, x, y, z) -> scalar."""


@dataclass
class Objective:
    """What the segmentation network is trained for.

    Attributes:
        lesion_loss: the lesion-wise term, or None.
        alpha: its weight (the paper: 0.2).
        entropy_weight: weight of cross-entropy beside Dice in the voxel-wise term (the paper: 0).
        balance: scale the lesion-wise term at each step so that the norm of its gradient on the logits is alpha times that of
            the voxel-wise term, whatever the scale of the two.
    """

    lesion_loss: LesionLoss | None = None
    alpha: float = 0.2
    entropy_weight: float = 0.0
    balance: bool = False

    def __call__(self, logits: Tensor, truth: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of a batch and its parts for the log.

        `logits` (batch, 2, x, y, z), background first; `truth` (batch, x, y, z), 0 or 1. The parts hold both terms and the
        norms of their gradients on the logits, the second before its weight: a term that does nothing shows there.
        """
        logits = logits.float()
        voxel, lesion, parts = self._terms(logits, truth)
        if lesion is None:
            return voxel, parts
        voxel_gradient, lesion_gradient = (
            torch.autograd.grad(term, logits, retain_graph=True)[0] for term in (voxel, lesion)
        )
        voxel_norm, lesion_norm = norm(voxel_gradient), norm(lesion_gradient)
        weight: Tensor | float = self.alpha
        if self.balance:  # F has no gradient where there is no lesion, neither true nor predicted
            weight = self.alpha * voxel_norm / lesion_norm if lesion_norm > 0 else 0.0
        total = voxel + weight * lesion
        parts |= {
            "lesion_loss": float(lesion.detach()),
            "lesion_weight": float(weight),
            "voxel_gradient": float(voxel_norm),
            "lesion_gradient": float(lesion_norm),
        }
        # The gradients on the logits are known already: F is not walked through a second time.
        gradient = voxel_gradient + weight * lesion_gradient
        return total.detach() + ((logits - logits.detach()) * gradient).sum(), parts

    def _terms(self, logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor | None, dict[str, float]]:
        """Return the voxel-wise and the lesion-wise term."""
        probabilities = logits.softmax(1)[:, 1]
        dice = dice_loss(probabilities, truth)
        parts = {"dice_loss": float(dice.detach())}
        voxel = dice
        if self.entropy_weight:
            entropy = cross_entropy(logits, truth)
            parts["cross_entropy"] = float(entropy.detach())
            voxel = dice + self.entropy_weight * entropy
        return voxel, self.lesion_loss(probabilities, truth) if self.lesion_loss else None, parts


def norm(gradient: Tensor) -> Tensor:
    """Return the Euclidean norm of a gradient over the batch of all processes."""
    # Each process brings the number of processes times its part: see `train.distributed.summed`.
    return summed(gradient.detach().square().sum()).sqrt() / processes()
