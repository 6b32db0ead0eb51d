"""What a GPU does with a whole brain, beside the same on the CPU: `python -m benchmarks.gpu` (needs a GPU).

The case is a synthetic one, or with `--case` a `.npz` of `time1`, `time2` (float32, normalised) and `brain` (bool) at 1 mm.
"""

import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.bench_network import number_of_windows
from lesionwise.devices import choose_device, choose_precision, describe
from lesionwise.inference import Windows, network_runner, predict_in_memory
from lesionwise.lesions import find_lesions, label_lesions
from lesionwise.memory import SHARE, room_voxels
from lesionwise.network import PATCH_SIZE, UNet
from lesionwise.preprocessing.denoising_torch import denoise_on
from lesionwise.slabs import BYTES_PER_VOXEL
from lesionwise.weights import REPOSITORY_FOLDER, Weights, load_weights
from train.commandline import OneLineErrors
from train.synthetic_cases import make_case

SPACING_MM = (1.0, 1.0, 1.0)
SMALL_CARD_BYTES = 6e9
REPEATS = 3

Floats = NDArray[np.float32]


@click.command(cls=OneLineErrors)
@click.option("--case", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--weights", default=REPOSITORY_FOLDER, type=click.Path(exists=True, path_type=Path))
def main(case: Path | None, weights: Path) -> None:
    """Print seconds and errors of the GPU."""
    gpu = choose_device("cuda", print)
    precision = choose_precision("auto", gpu)
    time1, time2, brain = _case(case)
    loaded = load_weights(weights)
    print(f"{describe(gpu, precision, 1)}, torch {torch.__version__}; brain {brain.sum() / 1e6:.2f} l")
    expected = _predict(torch.device("cpu"), torch.float32, loaded, time1, time2, brain)[0]
    for kind in dict.fromkeys((precision, torch.float32)):
        torch.cuda.reset_peak_memory_stats()
        found, edge, seconds = _predict(gpu, kind, loaded, time1, time2, brain)
        peak = torch.cuda.max_memory_allocated() / 1e9
        _compared(
            f"whole brain, {kind}: {seconds:.3f} s, {peak:.1f} GB, window {edge}", found, expected, loaded
        )
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(gpu).total_memory
    torch.cuda.set_per_process_memory_fraction(SMALL_CARD_BYTES / total)
    small = SHARE * SMALL_CARD_BYTES / BYTES_PER_VOXEL[precision]
    for name, room in (("6 GB", small), ("6 GB, believed to be more", float("inf"))):
        found, edge, seconds = _predict(gpu, precision, loaded, time1, time2, brain, room)
        _compared(f"{name}: {seconds:.3f} s, window {edge}", found, expected, loaded)
    torch.cuda.set_per_process_memory_fraction(1.0)
    plain = _plain_windows_s(gpu, time1.shape)
    print(f"plain float32 windows of 64 at stride 32, one by one: {plain:.2f} s")
    print(f"denoising of one scan: {_seconds(lambda: denoise_on(time2 * brain, gpu)):.2f} s")


def _case(file: Path | None) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Return the time points and the brain mask."""
    if file is not None:
        with np.load(file) as arrays:
            return arrays["time1"].astype(np.float32), arrays["time2"].astype(np.float32), arrays["brain"]
    pair = make_case(seed=1, number=0)
    return pair.time1, pair.time2, pair.brain


def _predict(
    device: torch.device,
    precision: torch.dtype,
    weights: Weights,
    time1: Floats,
    time2: Floats,
    brain: NDArray[np.bool_],
    room: float | None = None,
) -> tuple[Floats, int, float]:
    """Return the probability, the windows' edge and on a GPU the seconds, from memory to memory."""
    network = UNet()
    network.load_state_dict(weights.network.state_dict())
    run = network_runner(network, device, precision)
    inside1, inside2 = time1 * brain, time2 * brain

    def predict() -> tuple[Floats, int]:
        voxels = room_voxels(device, precision) if room is None else room
        return predict_in_memory(run, inside1, inside2, brain, Windows(), voxels)

    found, edge = predict()
    return found, edge, _seconds(predict) if device.type == "cuda" else 0.0


def _compared(text: str, found: Floats, expected: Floats, weights: Weights) -> None:
    """Print how far two probabilities are apart, and whether their lesions are the same."""
    masks = [find_lesions(p, SPACING_MM, weights.operating_point) for p in (found, expected)]
    lesions = [int(label_lesions(mask, SPACING_MM).max()) for mask in masks]
    both = int((masks[0] & masks[1]).sum())
    dice = 2 * both / max(1, sum(int(mask.sum()) for mask in masks))
    difference = np.abs(found - expected)
    print(
        f"{text}; difference to the CPU's float32: mean {difference.mean():.1e}, largest {difference.max():.3f}; "
        f"lesions {lesions[0]} and {lesions[1]}, Dice {dice:.4f}"
    )


def _plain_windows_s(device: torch.device, shape: tuple[int, ...]) -> float:
    """Return the seconds that the plain loop over all windows would take, from ten of them."""
    network, window = UNet().eval().to(device), torch.randn(1, 2, *(PATCH_SIZE,) * 3)

    def ten() -> None:
        with torch.inference_mode():
            for _ in range(10):
                network(window.to(device)).softmax(dim=1).cpu()

    ten()
    return _seconds(ten) / 10 * number_of_windows((shape[0], shape[1], shape[2]))


def _seconds(way: Callable[[], object]) -> float:
    """Return the median seconds of a few runs; each ends with its result on the CPU."""
    taken = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        way()
        taken.append(time.perf_counter() - begin)
    return float(np.median(taken))


if __name__ == "__main__":
    main()
