"""One step of the metric network's training, for stage 1 and for its refreshing in stage 2."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional

from lesionwise.devices import autocast, choose_precision
from train.loop import LARGEST_GRADIENT
from train.metric_network.mask_pairs import PairBatch
from train.metric_network.network import MetricNetwork


def metric_loss(
    network: MetricNetwork, batch: PairBatch, precision: torch.dtype = torch.float32
) -> tuple[Tensor, dict[str, float]]:
    """Return the mean squared error of the estimates (paper, section 2.2) and what is logged."""
    device = next(network.parameters()).device
    prediction, truth, f1 = (part.to(device) for part in batch)
    with autocast(device, precision):
        estimates = network(prediction, truth).float()
    loss = functional.mse_loss(estimates, f1)
    error = float((estimates.detach() - f1).abs().mean())
    return loss, {"squared_error": float(loss.detach()), "absolute_error": error}


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
