"""The network over a brain-sized volume, against the plain float32 loop and MONAI's, over windows of 64 at stride 32."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.table import Row, cpu_seconds_in_turn
from lesionwise.devices import choose_precision
from lesionwise.inference import network_runner
from lesionwise.network import PATCH_SIZE, UNet
from lesionwise.windows import window_positions, windows_with

SHAPE = (144, 192, 160)
"""A brain at 1 mm with its margin."""

SAMPLE_SHAPE = (64, 64, 96)
"""Two windows of the other ways are timed; all cost the same, so a loop's time is theirs times its number."""


def rows() -> Iterator[Row]:
    """Time the whole brain at once as `segment` does it, and both loops."""
    torch.manual_seed(0)
    cpu = torch.device("cpu")
    run = network_runner(UNet(), cpu, choose_precision("auto", cpu))
    plain = UNet().eval()
    brain = brain_ellipsoid()
    volume, sample = torch.randn(1, 2, *SHAPE) * torch.from_numpy(brain), torch.randn(1, 2, *SAMPLE_SHAPE)
    windows, sampled = number_of_windows(SHAPE), number_of_windows(SAMPLE_SHAPE)
    with_brain = len(windows_with(brain, window_positions(SHAPE, (PATCH_SIZE,) * 3, overlap=0.5)))

    ways = [lambda: run(volume), lambda: plain_windows(plain, sample)]
    if monai_is_there():
        ways.append(lambda: monai_windows(plain, sample))
    ours, loop, *monai = cpu_seconds_in_turn(*ways, repeats=2)
    name = "network: whole brain at once against"
    yield Row(f"{name} {with_brain} plain float32 windows", loop / sampled * with_brain / ours, bar=6)
    for seconds in monai:  # which computes every window
        yield Row(f"{name} MONAI's {windows} windows", seconds / sampled * windows / ours, bar=4)


def plain_windows(network: torch.nn.Module, volume: torch.Tensor) -> None:
    """Run the network as it stands over the windows of a volume that is one of them long but for its last axis."""
    with torch.inference_mode():
        for z in range(0, volume.shape[-1] - PATCH_SIZE + 1, PATCH_SIZE // 2):
            network(volume[..., z : z + PATCH_SIZE]).softmax(dim=1)


def plain_window_cpu_s() -> float:
    """Return the CPU seconds of one plain float32 window."""
    plain, sample = UNet().eval(), torch.randn(1, 2, *SAMPLE_SHAPE)
    (seconds,) = cpu_seconds_in_turn(lambda: plain_windows(plain, sample), repeats=2)
    return seconds / number_of_windows(SAMPLE_SHAPE)


def monai_is_there() -> bool:
    """Tell whether MONAI is installed (`make bench` does so): nothing else here needs it."""
    try:
        import monai.inferers  # noqa: F401
    except ImportError:
        print("MONAI is not installed: its row is left out")
        return False
    return True


def monai_windows(network: torch.nn.Module, volume: torch.Tensor) -> torch.Tensor:
    """Return what MONAI's loop gives, with its Gaussian weights, as its documentation calls it."""
    from monai.inferers.utils import sliding_window_inference

    with torch.inference_mode():
        found = sliding_window_inference(
            volume, (PATCH_SIZE,) * 3, sw_batch_size=1, predictor=network, overlap=0.5, mode="gaussian"
        )
    assert isinstance(found, torch.Tensor)
    return found


def number_of_windows(shape: tuple[int, int, int]) -> int:
    """Return how many windows of 64 at stride 32 a volume has."""
    return len(window_positions(shape, (PATCH_SIZE,) * 3, overlap=0.5))


def brain_ellipsoid() -> NDArray[np.bool_]:
    """Return a mask that fills the volume but for a margin of 8 voxels, as the network's grid is laid."""
    axes = np.ogrid[tuple(slice(length) for length in SHAPE)]
    return (
        np.asarray(sum(((x - (n - 1) / 2) / (n / 2 - 8)) ** 2 for x, n in zip(axes, SHAPE, strict=True))) <= 1
    )
