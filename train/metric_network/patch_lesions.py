"""The lesions of a prediction and a truth: where they lie, and how much of each the other mask covers.

Whether a lesion counts as found hangs on the share of it that is covered, be it ten voxels or a thousand. Convolutions with
maxima between them estimate a share only roughly, and most so near the limits where F1 jumps.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from lesionwise.lesions import label_lesions
from train.metric_network.targets import CELL, SPACING_MM

THRESHOLD = 0.5

SHARES = 3
"""What is known of a lesion, see `Lesions.shares`."""


@dataclass(frozen=True)
class Lesions:
    """The lesions of the masks of several patches.

    `labels` (N, x, y, z): numbers from 1 to `count` over all patches, 0 outside. `weight` (N, x, y, z): 1 inside, 0 outside,
    but of a prediction with the gradient of its log odds, below the threshold too. `voxels` (K,): where labels are, in the
    flattened masks. `lesion` (K,): the lesion of each, from 0.
    """

    labels: Tensor
    count: int
    weight: Tensor
    voxels: Tensor
    lesion: Tensor

    @classmethod
    def of_truth(cls, truth: Tensor) -> "Lesions":
        """Find the lesions of masks (N, x, y, z)."""
        labels, count = _numbered(truth > THRESHOLD)
        return cls._of(labels, count, (labels > 0).float())

    @classmethod
    def of_prediction(cls, prediction: Tensor, odds: Tensor) -> "Lesions":
        """Find the lesions of predictions (N, x, y, z); `odds`: their log odds, scaled to [0, 1]."""
        labels, count = _numbered(prediction > THRESHOLD)
        return cls._of(labels, count, (labels > 0) + (odds - odds.detach()))

    @classmethod
    def _of(cls, labels: Tensor, count: int, weight: Tensor) -> "Lesions":
        voxels = labels.flatten().nonzero()[:, 0]
        return cls(labels, count, weight, voxels, labels.flatten()[voxels] - 1)

    def sums(self, values: Tensor) -> Tensor:
        """Return the sums over each lesion, (count,), of values at its voxels (K,)."""
        return values.new_zeros(self.count).index_add(0, self.lesion, values)

    @cached_property
    def volume(self) -> Tensor:
        """The voxels of each lesion (count,)."""
        return self.sums(self.weight.flatten()[self.voxels])

    def shares(self, other: "Lesions") -> Tensor:
        """Return what decides whether each lesion counts as found among the other mask's, (count, SHARES).

        One over the edge of a cube of its volume; the share of it that the other lesions cover; and the mean over its covered
        voxels of the share of the other lesion there that lies in this mask. The edge has no gradient, the mean that of its
        sum: more cover never lowers it.
        """
        both = self.weight.flatten() * other.weight.flatten()
        overlap, volume = both[self.voxels], self.volume
        covered = self.sums(overlap)
        inside = torch.cat([volume.new_zeros(1), other.sums(both[other.voxels]) / other.volume.clamp(min=1)])
        of_others = self.sums(overlap * inside.index_select(0, other.labels.flatten()[self.voxels]))
        return torch.stack(
            [
                volume.detach().clamp(min=1) ** (-1 / 3),
                covered / volume.clamp(min=1),
                of_others / covered.detach().clamp(min=1),
            ],
            dim=1,
        )

    def counted(self, log_odds: Tensor, around: Tensor) -> Tensor:
        """Return how many lesions are found and missed in cells of CELL voxels: (N, 2, x / CELL, y / CELL, z / CELL).

        `log_odds` (count,): of each lesion to be found; `around` (N, x / CELL, y / CELL, z / CELL): what is added to them in a
        cell. Each lesion is 1 in total, spread over the cells by its voxels, as in `targets.lesion_counts`.
        """
        patch, *axes = torch.unravel_index(self.voxels, self.labels.shape)
        cell = patch
        for axis, length in zip(axes, around.shape[1:], strict=True):
            cell = cell * length + axis // CELL
        odds = log_odds.index_select(0, self.lesion) + around.flatten().index_select(0, cell)
        volume = self.volume.detach().clamp(min=1)
        part = self.weight.flatten()[self.voxels] / volume.index_select(0, self.lesion)
        halves = (part * torch.sigmoid(odds), part * torch.sigmoid(-odds))
        maps = [part.new_zeros(math.prod(around.shape)).index_add(0, cell, half) for half in halves]
        return torch.stack([m.reshape(around.shape) for m in maps], dim=1)


def _numbered(masks: Tensor) -> tuple[Tensor, int]:
    """Return the lesions of masks (N, x, y, z) as the evaluator finds them, numbered from 1 over all; and how many."""
    labels, before = [], 0
    for mask in masks.cpu().numpy():
        own = label_lesions(mask, SPACING_MM).astype(np.int64)
        labels.append(np.where(own > 0, own + before, 0))
        before += int(own.max())
    return torch.from_numpy(np.stack(labels)).to(masks.device), before
