"""A network over a volume: windows, blended.

How one batch of windows is computed is a function of its own (`network_runner`), so that another way to
run the convolutions takes its place without touching the windows.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lesionwise.devices import autocast
from lesionwise.network import PATCH_SIZE
from lesionwise.windows import gaussian_weights, window_positions, windows_with
from lesionwise.winograd import accelerate

Floats = NDArray[np.float32]

Runner = Callable[[Tensor], Tensor]
"""Windows (N, 2, x, y, z) float32 on the CPU -> probability of new lesion (N, x, y, z), likewise."""

WINDOWS_AT_ONCE = {"cpu": 1, "cuda": 8}
"""More bring nothing on a CPU and cost memory: one window keeps about 0.5 GB of activations alive."""


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
        windows = windows.to(device, memory_format=torch.channels_last_3d)
        with autocast(device, precision):
            logits = network(windows)
        return torch.softmax(logits.float(), dim=1)[:, 1].cpu()

    return run


def predict_probabilities(
    run: Runner,
    time1: Floats,
    time2: Floats,
    brain_mask: NDArray[np.bool_],
    *,
    stride: int = PATCH_SIZE // 2,
    size: int = PATCH_SIZE,
    windows_at_once: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> Floats:
    """Return the probability of new lesion (x, y, z) in [0, 1], the windows' Gaussian-weighted mean.

    All arrays share one grid, the network's, whose axes hold at least `size` voxels. Windows with no brain
    are skipped; what no window covers is 0. `on_progress` hears of (windows done, windows in all).
    """
    windows = windows_with(brain_mask, window_positions(brain_mask.shape, size, stride))
    weights = gaussian_weights(size)
    weighted, total = np.zeros(brain_mask.shape, np.float32), np.zeros(brain_mask.shape, np.float32)
    for begin in range(0, len(windows), windows_at_once):
        some = windows[begin : begin + windows_at_once]
        pairs = np.stack([np.stack([time1[window], time2[window]]) for window in some])
        for window, probability in zip(some, run(torch.from_numpy(pairs)).numpy(), strict=True):
            weighted[window] += weights * probability
            total[window] += weights
        if on_progress:
            on_progress(begin + len(some), len(windows))
    return np.divide(weighted, total, out=weighted, where=total > 0)
