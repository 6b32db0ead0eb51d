"""A network over a volume: windows, blended.

How one batch of windows is computed is a function of its own (`network_runner`), so that another way to
run the convolutions takes its place without touching the windows.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lesionwise.allowed import OVERLAP, check_number, check_window
from lesionwise.devices import autocast
from lesionwise.memory import rounded_up, window_edges
from lesionwise.network import PATCH_SIZE, UNet
from lesionwise.slabs import logits_in_slabs
from lesionwise.windows import gaussian_weights, window_positions, windows_with
from lesionwise.winograd import accelerate

Floats = NDArray[np.float32]

Runner = Callable[[Tensor], Tensor]
"""Windows (N, 2, x, y, z) float32 on the CPU -> probability of new lesion (N, x, y, z), likewise."""


@dataclass(frozen=True)
class Windows:
    """How windows are laid: their edge in voxels, None for the whole volume if memory allows, and their overlap.

    Raises `UsageError` for an edge or an overlap that the command line would refuse.
    """

    edge: int | None = None
    overlap: float = 0.5

    def __post_init__(self) -> None:
        if self.edge is not None:
            check_window(self.edge)
        check_number("overlap", self.overlap, OVERLAP)


def network_runner(network: nn.Module, device: torch.device, precision: torch.dtype) -> Runner:
    """Return what computes windows with a network in inference mode on a device.

    Channels come last in memory: oneDNN and cuDNN are faster so. With bfloat16, convolutions run in it and
    normalisation, softmax and the weights' originals stay in float32 (autocast). A CPU that computes in float32
    convolves by Winograd's transform.
    """
    if device.type == "cpu" and precision == torch.float32:
        network = accelerate(network)
    network = network.eval().to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    @torch.inference_mode()
    def run(windows: Tensor) -> Tensor:
        brain = windows.ne(0).any(dim=1).any(dim=0)
        if device.type == "cuda":  # from pinned memory the copy goes on while kernels are launched
            windows = windows.pin_memory().to(device, non_blocking=True)
        windows = windows.contiguous(memory_format=torch.channels_last_3d)
        with autocast(device, precision):
            logits = (
                logits_in_slabs(network, windows, where=brain)
                if isinstance(network, UNet)
                else network(windows)
            )
        return torch.softmax(logits.float(), dim=1)[:, 1].cpu()

    return run


def predict_in_memory(
    run: Runner,
    time1: Floats,
    time2: Floats,
    brain_mask: NDArray[np.bool_],
    windows: Windows,
    room_voxels: float,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Floats, int]:
    """Return what `predict_probabilities` does, and the edge of the windows: the largest that fit into so many voxels."""
    edges = [windows.edge] if windows.edge else window_edges(brain_mask.shape, room_voxels)
    for edge in edges:
        try:
            probability = predict_probabilities(
                run,
                time1,
                time2,
                brain_mask,
                overlap=windows.overlap,
                size=edge,
                on_progress=on_progress,
            )
        except torch.OutOfMemoryError:  # raised on a GPU; other programs may share it
            if edge == edges[-1]:
                raise
        else:
            return probability, edge
    raise AssertionError("there is always an edge to try")


def predict_probabilities(
    run: Runner,
    time1: Floats,
    time2: Floats,
    brain_mask: NDArray[np.bool_],
    *,
    overlap: float = 0.5,
    size: int = PATCH_SIZE,
    on_progress: Callable[[int, int], None] | None = None,
) -> Floats:
    """Return the probability of new lesion (x, y, z) in [0, 1], the windows' Gaussian-weighted mean.

    All arrays share one grid, the network's. A window has edges of `size` voxels, or shorter ones that hold the whole
    axis; `size` and those are multiples of 8. Windows with no brain are skipped; what no window covers is 0.
    `on_progress` hears of (windows done, windows in all).
    """
    sizes = tuple(min(size, rounded_up(length)) for length in brain_mask.shape)
    beyond = [(0, max(0, edge - length)) for edge, length in zip(sizes, brain_mask.shape, strict=True)]
    first, second, brain = np.pad(time1, beyond), np.pad(time2, beyond), np.pad(brain_mask, beyond)
    windows = windows_with(brain, window_positions(brain.shape, sizes, overlap))
    weights = gaussian_weights(sizes)
    weighted, total = np.zeros(brain.shape, np.float32), np.zeros(brain.shape, np.float32)
    for done, window in enumerate(windows, start=1):
        pair = torch.from_numpy(np.stack([first[window], second[window]]))
        weighted[window] += weights * run(pair[None]).numpy()[0]
        total[window] += weights
        if on_progress:
            on_progress(done, len(windows))
    inside = tuple(slice(length) for length in brain_mask.shape)
    return np.divide(weighted, total, out=weighted, where=total > 0)[inside]
