"""What the metric network learns by, in stage 1 and at its refreshing in stage 2."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional

from lesionwise.devices import autocast, choose_precision
from train.loop import LARGEST_GRADIENT
from train.metric_network.mask_pairs import PairBatch
from train.metric_network.network import MetricNetwork
from train.metric_network.walkers import start_logits

COUNTS_WEIGHT = 0.01
"""Of the compact head's counts beside the squared error of F1."""

ENOUGH = 0.35
"""Cosine of F's gradient with the direction of the errors above which nothing is asked of it."""

TINY = 1e-6


def metric_loss(
    network: MetricNetwork,
    batch: PairBatch,
    precision: torch.dtype = torch.float32,
    gradient_weight: float = 0.0,
    counts_weight: float = COUNTS_WEIGHT,
) -> tuple[Tensor, dict[str, float]]:
    """Return the mean squared error of the estimates (paper, section 2.2) and what is logged.

    The compact head is also taught its counts, cell by cell: the deviance of a Poisson distribution, summed over a patch.
    Told F1 alone, it would have to find out by itself which lesion it was that made it lower. `gradient_weight`: of
    `gradient_loss`, `counts_weight`: of the deviance, against which the squared error weighs little once it is small.
    """
    device = next(network.parameters()).device
    prediction, truth, f1, counts = (part.to(device, non_blocking=True) for part in batch)
    with autocast(device, precision):
        estimates, maps = network.counted(prediction, truth)
    squared = functional.mse_loss(estimates.float(), f1)
    error = float((estimates.detach() - f1).abs().mean())
    parts = {"squared_error": float(squared.detach()), "absolute_error": error}
    if gradient_weight:
        lacking = gradient_loss(network, batch, precision)
        parts["gradient_lacks"] = float(lacking.detach())
        squared = squared + gradient_weight * lacking
    if maps is None:
        return squared, parts
    maps = maps + TINY  # cells without lesions have 0
    deviance = (maps - counts - torch.xlogy(counts, maps / counts.clamp(min=TINY))).sum((1, 2, 3, 4)).mean()
    parts["counts_deviance"] = float(deviance.detach())
    return squared + counts_weight * deviance, parts


def gradient_loss(network: MetricNetwork, batch: PairBatch, precision: torch.dtype) -> Tensor:
    """Return how far F's gradient points away from the errors, the mean over the pairs that have some; a scalar.

    A network that estimates well may still have a gradient that leads nowhere. Along it the logits should rise where the
    prediction misses a lesion and fall where it invents one: by the truth minus the thresholded prediction. What a pair's
    cosine with that lacks to ENOUGH counts; asked for more, F pays with its estimates.
    """
    device = next(network.parameters()).device
    prediction, truth, f1, _ = (part.to(device, non_blocking=True) for part in batch)
    wanted = truth - (prediction > 0.5).float()
    wrong = (f1 < 1) & wanted.flatten(1).any(1)
    if not wrong.any():
        return f1.new_zeros(())
    logits = start_logits(prediction[wrong]).requires_grad_(True)
    with autocast(device, precision):
        estimates = network(logits.sigmoid(), truth[wrong])
    (gradient,) = torch.autograd.grad(estimates.float().sum(), logits, create_graph=True)
    cosines = functional.cosine_similarity(gradient.flatten(1), wanted[wrong].flatten(1), eps=1e-9)
    return (ENOUGH - cosines).clamp(min=0).mean()


def fine_tune(
    network: MetricNetwork, batches: Iterable[PairBatch], steps: int, rate: float, gradient_weight: float
) -> float:
    """Train the network on `steps` of the batches with a new Adam; return the mean absolute error on the last half.

    `gradient_weight`: as for `metric_loss`.
    The network ends up in train mode and unfrozen.
    """
    network.train().requires_grad_(True)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    precision = choose_precision("auto", next(network.parameters()).device)
    errors = []
    for _, batch in zip(range(steps), batches, strict=False):
        loss, parts = metric_loss(network, batch, precision, gradient_weight)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)
        optimizer.step()
        errors.append(parts["absolute_error"])
    last = errors[len(errors) // 2 :]
    return sum(last) / max(1, len(last))
