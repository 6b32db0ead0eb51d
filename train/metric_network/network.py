"""The metric network F of the paper (Fig. 2): an estimate of the lesion-wise F1 from a prediction and a truth.

Two heads with one interface. The published one holds 178 M parameters, nearly all in its first fully connected layer; the
compact one holds 309 k and takes patches of any size.
"""

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from lesionwise.overlap import Mode
from train.metric_network.patch_lesions import SHARES, Lesions
from train.metric_network.targets import CELL

Head = Literal["published", "compact"]
HEADS: tuple[Head, ...] = ("published", "compact")

WIDTHS: dict[Head, int] = {"published": 10, "compact": 8}
PUBLISHED_PATCH = 64
FULLY_CONNECTED = (4096, 2048, 1024)
GROUPS = 5
"""Of the group normalisations: not published; 5 divides all the published widths."""
DROPOUT = 0.1
"""Not published. Half of the features, as in the segmentation network, would blur a count of lesions."""
POOLINGS = 3
SMOOTHING_LESIONS = 0.02
LARGEST_LOG_ODDS = 6.0
"""Beyond these, probabilities of 0.0025 and 0.9975, the compact head sees no difference."""
SMALLEST_PROBABILITY = 1e-6
"""Below it the gradient fades after all."""
KNOTS = 20
"""Hinges through which the compact head sees a share."""


class MetricNetwork(nn.Module):
    """Prediction and truth (N, x, y, z), probabilities or masks -> estimated lesion-wise F1 (N), by one of two heads."""

    def __init__(
        self,
        head: Head = "compact",
        patch: int = PUBLISHED_PATCH,
        width: int | None = None,
        dropout: float = DROPOUT,
        definition: Mode = "organisers",
    ) -> None:
        """`width`: of the first layer, by default that of WIDTHS. `patch`: edge in voxels; it binds the published head.
        `definition`: of the F1 that the network is taught, see `targets`; kept with it.

        Raises ValueError for a head that is none of HEADS, or a `patch` that is no multiple of 8.
        """
        if head not in HEADS:
            raise ValueError(f"the head {head!r} is none of {', '.join(HEADS)}")
        if patch % 2**POOLINGS:
            raise ValueError(f"a patch of {patch} voxels is no multiple of {2**POOLINGS}")
        super().__init__()
        w = width or WIDTHS[head]
        self.definition: Mode = definition
        self.settings = {
            "head": head,
            "patch": patch,
            "width": w,
            "dropout": dropout,
            "definition": definition,
        }
        self.head = Published(w, patch, dropout) if head == "published" else Compact(w)

    def forward(self, prediction: Tensor, truth: Tensor) -> Tensor:
        """Return the estimates (N)."""
        return self.counted(prediction, truth)[0]

    def counted(self, prediction: Tensor, truth: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the estimates (N) and the compact head's four maps (N, 4, x / 8, y / 8, z / 8); None for the other."""
        found: tuple[Tensor, Tensor | None] = self.head(prediction, truth)
        return found


class Published(nn.Module):
    """Fig. 2: three levels of two convolutions each, with widths 10, 20 | 20, 40 | 40, 80, then fully connected layers.

    Group normalisation before each convolution, max-pooling and dropout after each level; the last one is flattened and goes
    through layers of 4096, 2048, 1024 and 1 with dropout before each. A linear output: estimates may leave [0, 1]. For
    patches of one size.
    """

    def __init__(self, w: int, patch: int, dropout: float) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            *_level(3, w, 2 * w, dropout),
            *_level(2 * w, 2 * w, 4 * w, dropout),
            *_level(4 * w, 4 * w, 8 * w, dropout),
        )
        sizes = (8 * w * (patch // 2**POOLINGS) ** 3, *FULLY_CONNECTED, 1)
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in pairwise(sizes):
            layers += [nn.Dropout(dropout), nn.Linear(before, after), nn.ReLU(inplace=True)]
        self.head = nn.Sequential(*layers[:-1], nn.Flatten(0))

    def forward(self, prediction: Tensor, truth: Tensor) -> tuple[Tensor, None]:
        """Return the estimates (N), and no maps."""
        return self.head(self.trunk(_channels(prediction, truth))), None


class Compact(nn.Module):
    """Counts the lesions of both masks, and learns of each whether the evaluator takes it for found.

    Four maps are summed over the patch: how many true lesions are found and missed, how many predicted ones are right and
    wrong; F1 is computed from the four sums. The odds that a lesion is found come from what is known of it as a whole
    (`Lesions.shares`) and from convolutions over prediction and truth, which see its surroundings. The prediction is seen by
    its log odds (see `as_log_odds`). No normalisation: it would make the trace of a lesion depend on all others. Any size
    that is a multiple of 8. At full resolution the convolutions only look at each voxel by itself: 20 times less work than
    the published ones. The estimate jumps where a voxel crosses the threshold and a lesion comes, goes, parts or joins, as F1
    does; where a patch has neither a true nor a predicted lesion it is 1 and has no gradient.
    """

    def __init__(self, w: int) -> None:
        super().__init__()
        self.trunk = _compact_trunk(w)
        self.around = nn.Conv3d(8 * w, 2, kernel_size=1)
        self.found, self.right = ShareOdds(4 * w), ShareOdds(4 * w)

    def forward(self, prediction: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """Return the estimates (N) and the four maps (N, 4, x / 8, y / 8, z / 8)."""
        if any(edge % CELL for edge in truth.shape[1:]):
            raise ValueError(f"the edges of patches {tuple(truth.shape[1:])} are no multiples of {CELL}")
        odds = as_log_odds(prediction)
        around = self.around(self.trunk(_channels(odds, truth))).float()
        true, predicted = Lesions.of_truth(truth), Lesions.of_prediction(prediction, odds)
        maps = torch.cat(
            [
                true.counted(self.found(true.shares(predicted)), around[:, 0]),
                predicted.counted(self.right(predicted.shares(true)), around[:, 1]),
            ],
            dim=1,
        )
        return f1_of_counts(maps), maps


def _channels(prediction: Tensor, truth: Tensor) -> Tensor:
    """Return prediction, truth and their product as channels (N, 3, x, y, z), stored channels last."""
    return torch.stack([prediction, truth, prediction * truth], dim=-1).movedim(-1, 1)


def as_log_odds(probabilities: Tensor) -> Tensor:
    """Return the log odds of probabilities, clamped and scaled to [0, 1]: 0, 0.5 and 1 stay what they are.

    A loss's gradient on the logits fades where a network is sure, by the sigmoid's slope, so that a lesion missed with
    confidence would never be found. Of the log odds it does not fade, and passes the clamp as if there was none.
    """
    given = probabilities.float()
    inside = given.detach().clamp(SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    odds = torch.logit(inside).clamp(-LARGEST_LOG_ODDS, LARGEST_LOG_ODDS)
    nothing = given - given.detach()  # but for its gradient, which becomes that of the log odds
    odds = odds + nothing / (inside * (1 - inside))
    return (odds + LARGEST_LOG_ODDS) / (2 * LARGEST_LOG_ODDS)


class ShareOdds(nn.Module):
    """Shares of lesions (n, SHARES) -> the log odds that each is found (n).

    A share is seen through KNOTS hinges, each of which rises over its part of [0, 1], so that a step can be learned anywhere,
    to one part's width and less.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(1 + (SHARES - 1) * KNOTS, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, 1),
            nn.Flatten(0),
        )

    def forward(self, shares: Tensor) -> Tensor:
        """Return the log odds (n)."""
        knots = torch.arange(KNOTS, device=shares.device)
        hinges = (shares[:, 1:, None] * KNOTS - knots).clamp(0, 1).flatten(1)
        log_odds: Tensor = self.layers(torch.cat([shares[:, :1], hinges], dim=1))
        return log_odds.float()


def f1_of_counts(maps: Tensor) -> Tensor:
    """Return F1 (N) from maps (N, 4, x, y, z) of lesions found, missed, right and wrong; 1 where nothing is counted."""
    found, missed, right, wrong = maps.sum((2, 3, 4)).unbind(1)
    sensitivity = (found + SMOOTHING_LESIONS) / (found + missed + SMOOTHING_LESIONS)
    precision = (right + SMOOTHING_LESIONS) / (right + wrong + SMOOTHING_LESIONS)
    return 2 * sensitivity * precision / (sensitivity + precision)


def _compact_trunk(w: int) -> nn.Sequential:
    """Return the layers before the compact head: voxel by voxel, then halved with overlap, then convolved and pooled."""
    layers: list[nn.Module] = [nn.Conv3d(3, w, 1), nn.ReLU(inplace=True)]
    layers += [nn.Conv3d(w, 2 * w, 4, stride=2, padding=1), nn.ReLU(inplace=True)]
    for before, after, pooled in (
        (2 * w, 2 * w, True),
        (2 * w, 4 * w, False),
        (4 * w, 8 * w, True),
        (8 * w, 8 * w, False),
        (8 * w, 8 * w, False),
    ):
        layers += [nn.Conv3d(before, after, kernel_size=3, padding=1), nn.ReLU(inplace=True)]
        if pooled:
            layers.append(nn.MaxPool3d(2))
    for layer in layers:
        if isinstance(layer, nn.Conv3d):  # without normalisation the default would let the features fade
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return nn.Sequential(*layers)


def _level(inside: int, middle: int, outside: int, dropout: float) -> list[nn.Module]:
    """Return two convolutions with group normalisation before and ReLU after each, then pooling and dropout."""
    layers: list[nn.Module] = []
    for before, after in ((inside, middle), (middle, outside)):
        # The three input channels are one group: their relation is what matters.
        layers.append(nn.GroupNorm(GROUPS if before % GROUPS == 0 else 1, before))
        layers += [nn.Conv3d(before, after, kernel_size=3, padding=1), nn.ReLU(inplace=True)]
    return [*layers, nn.MaxPool3d(2), nn.Dropout(dropout)]
