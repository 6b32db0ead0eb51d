"""One training run in several processes (torchrun): who is who, and sums over all of them.

Each process computes the loss of the whole batch from sums over all processes, so that N processes with a share of the
batch each follow the curve of one process with all of it. Without torchrun everything here does nothing.
"""

import os
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from lesionwise.devices import choose_device

RANK_SEED = 2_000_003
"""Times a process's rank: what its seed is apart from the first one's."""


def start(device: str) -> torch.device:
    """Join the processes that torchrun started, if it did; return this process's device.

    `device` is "cpu" (processes talk by gloo) or "cuda" (by NCCL, one GPU a process).

    Raises:
        DeviceError: no GPU works.
    """
    local = int(os.environ.get("LOCAL_RANK", 0))
    if device != "cpu" and torch.cuda.is_available():
        torch.cuda.set_device(local)  # else NCCL and pinned memory of all processes would use the first GPU
    choose_device(device, print)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        distributed.init_process_group("gloo" if device == "cpu" else "nccl")
    return torch.device("cpu") if device == "cpu" else torch.device(device, local)


def stop() -> None:
    """Leave the other processes, if there are any."""
    if processes() > 1:
        distributed.destroy_process_group()


def processes() -> int:
    """Return how many processes share this run."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Return which of them this is; 0 writes the files."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def wrapped(network: nn.Module) -> nn.Module:
    """Return the network with gradients averaged over all processes after each backward pass."""
    return DistributedDataParallel(network) if processes() > 1 else network


def seed_apart(seed: int) -> None:
    """Give each process but the first a seed of its own, so that they do not all drop out the same.

    The first one keeps the course of torch's generator: that of a run in a single process.
    """
    if rank():
        torch.manual_seed(RANK_SEED * rank() + seed)


def summed(value: Tensor) -> Tensor:
    """Return the sum over all processes; gradients flow to each process's own share.

    Every process then computes one and the same loss L of the sum. DDP averages the gradients, so that each process has to
    bring the number of processes times its part of dL: that is the factor in the backward pass.
    """
    if processes() == 1:
        return value
    total: Tensor = _Sum.apply(value)  # type: ignore[no-untyped-call]
    return total


def agreed(value: float) -> float:
    """Return process 0's value, so that all stop at the same step and use one learning rate."""
    if processes() == 1:
        return value
    shared = torch.tensor([value], dtype=torch.float64)
    if distributed.get_backend() == "nccl":
        shared = shared.cuda()
    distributed.broadcast(shared, 0)
    return float(shared[0])


def share_parameters(network: nn.Module) -> None:
    """Give process 0's parameters to all."""
    if processes() > 1:
        for value in network.state_dict().values():
            distributed.broadcast(value, 0)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:  # noqa: ARG004 - autograd's signature
        total = value.detach().clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ARG004
        return gradients[0] * processes()
