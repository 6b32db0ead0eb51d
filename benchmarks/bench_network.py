"""The network over a brain-sized volume, against the plain float32 loop over windows of 64 at stride 32."""

from collections.abc import Iterator

import numpy as np
import torch

from benchmarks.table import Row, cpu_seconds_in_turn
from lesionwise.devices import choose_precision
from lesionwise.inference import network_runner
from lesionwise.network import PATCH_SIZE, UNet
from lesionwise.windows import window_positions, windows_with

SHAPE = (144, 192, 160)
"""A brain at 1 mm with its margin."""

SAMPLE = 1
"""Windows of the plain loop that are timed; all cost the same, so the loop's time is theirs times its number."""


def rows() -> Iterator[Row]:
    """Time the whole brain at once as `segment` does it, and plain windows."""
    torch.manual_seed(0)
    network = UNet().eval()
    cpu = torch.device("cpu")
    plain = UNet().eval()
    run = network_runner(network, cpu, choose_precision("auto", cpu))
    brain = np.ones(SHAPE, bool)
    windows = windows_with(brain_ellipsoid(), window_positions(brain.shape, (PATCH_SIZE,) * 3, overlap=0.5))
    window, volume = torch.randn(1, 2, *[PATCH_SIZE] * 3), torch.randn(1, 2, *SHAPE)

    def plain_windows() -> None:
        with torch.inference_mode():
            for _ in range(SAMPLE):
                plain(window).softmax(dim=1)

    ours, theirs = cpu_seconds_in_turn(lambda: run(volume), plain_windows, repeats=2)
    loop = theirs / SAMPLE * len(windows)
    yield Row(
        f"network: whole brain at once against {len(windows)} plain float32 windows", loop / ours, bar=6
    )


def brain_ellipsoid() -> np.ndarray:
    """Return a mask that fills the volume but for a margin of 8 voxels, as the network's grid is laid."""
    axes = np.ogrid[tuple(slice(length) for length in SHAPE)]
    return sum(((x - (n - 1) / 2) / (n / 2 - 8)) ** 2 for x, n in zip(axes, SHAPE, strict=True)) <= 1
