"""The metric network F of the paper (Fig. 2): an estimate of the lesion-wise F1 from a prediction and a truth.

Two heads with one interface. The published one holds 178 M parameters, nearly all in its first fully connected layer; the
compact one holds 169 k and takes patches of any size.
"""

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Head = Literal["published", "compact"]
HEADS: tuple[Head, ...] = ("published", "compact")

WIDTH = 10
PUBLISHED_PATCH = 64
FULLY_CONNECTED = (4096, 2048, 1024)
GROUPS = 5
"""Of the group normalisations: not published; 5 divides all the published widths."""
DROPOUT = 0.1
"""Not published. Half of the features, as in the segmentation network, would blur a count of lesions."""
POOLINGS = 3
SMOOTHING_LESIONS = 0.1


class MetricNetwork(nn.Module):
    """Prediction and truth (N, x, y, z), probabilities or masks -> estimated lesion-wise F1 (N).

    The input channels are prediction, truth and their product. Three levels of two convolutions each follow, with widths 10,
    20 | 20, 40 | 40, 80, a max-pooling and dropout after each level, then one of two heads:

    published: group normalisation before each convolution; the last level is flattened and goes through fully connected layers
        of 4096, 2048, 1024 and 1 with dropout before each. A linear output: estimates may leave [0, 1]. For `patch` only.
    compact: no normalisation, and global pooling by sums. Four maps, each at least 0, are summed over the patch: how many true
        lesions are found and missed, how many predicted ones are right and wrong; F1 is computed from the four sums.
        Only F1 is taught, so that the sums count in a unit of their own. Normalising a patch by its own statistics would
        make the trace of a lesion depend on all others; without it, each counts the same. Any size that is a multiple of 8.
    """

    def __init__(
        self,
        head: Head = "compact",
        patch: int = PUBLISHED_PATCH,
        width: int = WIDTH,
        dropout: float = DROPOUT,
    ) -> None:
        """Raise ValueError for a head that is none of HEADS or a `patch` that is no multiple of 8."""
        if head not in HEADS:
            raise ValueError(f"the head {head!r} is none of {', '.join(HEADS)}")
        if patch % 2**POOLINGS:
            raise ValueError(f"a patch of {patch} voxels is no multiple of {2**POOLINGS}")
        super().__init__()
        self.settings = {"head": head, "patch": patch, "width": width, "dropout": dropout}
        w, normed = width, head == "published"
        self.trunk = nn.Sequential(
            *_level(3, w, 2 * w, normed, dropout),
            *_level(2 * w, 2 * w, 4 * w, normed, dropout),
            *_level(4 * w, 4 * w, 8 * w, normed, dropout),
        )
        self.head: nn.Module
        if head == "published":
            sizes = (8 * w * (patch // 2**POOLINGS) ** 3, *FULLY_CONNECTED, 1)
            layers: list[nn.Module] = [nn.Flatten()]
            for before, after in pairwise(sizes):
                layers += [nn.Dropout(dropout), nn.Linear(before, after), nn.ReLU(inplace=True)]
            self.head = nn.Sequential(*layers[:-1], nn.Flatten(0))
        else:
            self.head = LesionCounts(8 * w)

    def forward(self, prediction: Tensor, truth: Tensor) -> Tensor:
        """Return the estimates (N)."""
        channels = torch.stack([prediction, truth, prediction * truth], dim=-1).movedim(
            -1, 1
        )  # channels last
        estimate: Tensor = self.head(self.trunk(channels))
        return estimate


class LesionCounts(nn.Module):
    """The compact head: features (N, channels, x, y, z) -> F1 (N) by way of four sums over the patch."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.maps = nn.Conv3d(channels, 4, kernel_size=1)
        # The maps begin near 0, as most of a patch holds no lesion.
        nn.init.constant_(self.maps.bias, -3.0)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> Tensor:
        """Return F1; 1 where nothing is counted, as for a patch without any lesion."""
        found, missed, right, wrong = (
            functional.softplus(self.maps(features).float()).sum((2, 3, 4)).unbind(1)
        )
        sensitivity = (found + SMOOTHING_LESIONS) / (found + missed + SMOOTHING_LESIONS)
        precision = (right + SMOOTHING_LESIONS) / (right + wrong + SMOOTHING_LESIONS)
        return 2 * sensitivity * precision / (sensitivity + precision)


def _level(inside: int, middle: int, outside: int, normed: bool, dropout: float) -> list[nn.Module]:
    """Return two convolutions with ReLU, group normalisation before each if `normed`, then pooling and dropout."""
    layers: list[nn.Module] = []
    for before, after in ((inside, middle), (middle, outside)):
        if normed:
            # The three input channels are one group: their relation is what matters.
            layers.append(nn.GroupNorm(GROUPS if before % GROUPS == 0 else 1, before))
        layers += [nn.Conv3d(before, after, kernel_size=3, padding=1), nn.ReLU(inplace=True)]
    return [*layers, nn.MaxPool3d(2), nn.Dropout(dropout)]
