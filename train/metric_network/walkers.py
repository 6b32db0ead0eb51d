"""Maps that walk up F's gradient while F learns: what would fool it is among its pairs, with the true F1.

A network that only ever saw masks, softened masks and outputs rates a map highly as soon as some voxels please it, and its
gradient leads there. The walkers follow that gradient one step at a time, and F is taught at each what the evaluator says.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lesionwise.devices import autocast
from lesionwise.overlap import Mode
from train.metric_network.mask_pairs import PairBatch
from train.metric_network.network import MetricNetwork
from train.metric_network.targets import lesion_counts, patch_f1

LARGEST_LOGIT = 4.0
"""Probabilities start within 0.018 and 0.982: further out the gradient of any loss on the logits is 0."""
STEP_LOGITS = 0.3, 1.5
"""By how much the voxel with the largest gradient moves in a step: drawn for each walker."""
MOST_STEPS = 40


@dataclass
class Walkers:
    """`count` maps; one that has gone its way is replaced by a pair of the next batch.

    They are not kept in checkpoints: a run that goes on begins with new ones.
    """

    network: MetricNetwork
    count: int
    definition: Mode
    precision: torch.dtype
    rng: np.random.Generator

    def __post_init__(self) -> None:
        """Begin without any: the first batches bring them."""
        self.logits: list[Tensor] = []
        self.truths: list[Tensor] = []
        self.steps_left: list[int] = []
        self.step_logit: list[float] = []

    def join(self, batch: PairBatch) -> PairBatch:
        """Return the batch with the walkers added, each one step further than the last time."""
        if not self.count:
            return batch
        self._replace(batch[0], batch[1])
        logits, truths = torch.stack(self.logits), torch.stack(self.truths)
        logits = walked(self.network, logits, truths, torch.tensor(self.step_logit), self.precision)
        self.logits = list(logits)
        self.steps_left = [left - 1 for left in self.steps_left]
        probabilities = logits.sigmoid()
        pairs = list(zip((probabilities > 0.5).numpy(), (truths > 0.5).numpy(), strict=True))
        f1 = torch.tensor([patch_f1(p, t, self.definition) for p, t in pairs])
        counts = torch.from_numpy(np.stack([lesion_counts(p, t, self.definition) for p, t in pairs]))
        own = probabilities, truths, f1.float(), counts
        return tuple(torch.cat(parts) for parts in zip(batch, own, strict=True))  # type: ignore[return-value]

    def _replace(self, predictions: Tensor, truths: Tensor) -> None:
        alive = [k for k, left in enumerate(self.steps_left) if left > 0]
        for name in ("logits", "truths", "steps_left", "step_logit"):
            setattr(self, name, [getattr(self, name)[k] for k in alive])
        for k in range(min(self.count - len(alive), len(predictions))):
            self.logits.append(start_logits(predictions[k]))
            self.truths.append(truths[k])
            self.steps_left.append(int(self.rng.integers(1, MOST_STEPS + 1)))
            self.step_logit.append(float(self.rng.uniform(*STEP_LOGITS)))


def start_logits(probabilities: Tensor) -> Tensor:
    """Return where a walk begins: the logits, not further out than a gradient can bring back."""
    return torch.logit(probabilities, eps=1e-6).clamp(-LARGEST_LOGIT, LARGEST_LOGIT)


def walked(
    network: MetricNetwork, logits: Tensor, truths: Tensor, step_logit: Tensor, precision: torch.dtype
) -> Tensor:
    """Return the logits (n, x, y, z) one step up F's gradient: the largest moves by `step_logit` (n)."""
    was_training = network.training
    network.eval()
    device = next(network.parameters()).device
    variables = logits.to(device).requires_grad_(True)
    with autocast(device, precision):
        estimates = network(variables.sigmoid(), truths.to(device))
    (gradient,) = torch.autograd.grad(estimates.sum(), variables)
    network.train(was_training)
    largest = gradient.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12)
    moved = variables.detach() + step_logit.to(device).reshape(-1, 1, 1, 1) * gradient / largest
    return moved.cpu()
