"""One step of the metric network's training, for stage 1 and for its refreshing in stage 2."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional

from lesionwise.devices import autocast, choose_precision
from train.loop import LARGEST_GRADIENT
from train.metric_network.mask_pairs import PairBatch
from train.metric_network.network import MetricNetwork

COUNTS_WEIGHT = 0.01
"""Of the compact head's counts beside the squared error of F1."""

TINY = 1e-6


def metric_loss(
    network: MetricNetwork, batch: PairBatch, precision: torch.dtype = torch.float32
) -> tuple[Tensor, dict[str, float]]:
    """Return the mean squared error of the estimates (paper, section 2.2) and what is logged.

    The compact head is also taught its counts, cell by cell: the deviance of a Poisson distribution, summed over a patch.
    Told F1 alone, it would have to find out by itself that lesions are to be counted.
    """
    device = next(network.parameters()).device
    prediction, truth, f1, counts = (part.to(device, non_blocking=True) for part in batch)
    with autocast(device, precision):
        estimates, maps = network.counted(prediction, truth)
    squared = functional.mse_loss(estimates.float(), f1)
    error = float((estimates.detach() - f1).abs().mean())
    parts = {"squared_error": float(squared.detach()), "absolute_error": error}
    if maps is None:
        return squared, parts
    maps = maps + TINY  # a softplus may underflow to 0
    deviance = (maps - counts - torch.xlogy(counts, maps / counts.clamp(min=TINY))).sum((1, 2, 3, 4)).mean()
    parts["counts_deviance"] = float(deviance.detach())
    return squared + COUNTS_WEIGHT * deviance, parts


def fine_tune(network: MetricNetwork, batches: Iterable[PairBatch], steps: int, rate: float) -> float:
    """Train the network on `steps` of the batches with a new Adam; return the mean absolute error on the last half.

    The network ends up in train mode and unfrozen.
    """
    network.train().requires_grad_(True)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    precision = choose_precision("auto", next(network.parameters()).device)
    errors = []
    for _, batch in zip(range(steps), batches, strict=False):
        loss, parts = metric_loss(network, batch, precision)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)
        optimizer.step()
        errors.append(parts["absolute_error"])
    last = errors[len(errors) // 2 :]
    return sum(last) / max(1, len(last))
