"""A network over cases that lie on its 1 mm grid already, without files and preprocessing: for synthetic validation."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from lesionwise.calibration import mirrored, tempered
from lesionwise.devices import choose_device, choose_precision, use_threads
from lesionwise.inference import Runner, Windows, network_runner, predict_in_memory
from lesionwise.lesions import OperatingPoint
from lesionwise.memory import room_voxels
from lesionwise.simulation.timepoints import SyntheticPair
from lesionwise.weights import MANIFEST, REPOSITORY_FOLDER, load_weights
from train.commandline import WHOLE
from train.segmentation.stages import load_network

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Predictor:
    """What finds lesions in a prepared pair. `operating_point`: the weights'; a threshold of 0.5 for a checkpoint."""

    run: Runner
    room_voxels: float
    temperature: float
    operating_point: OperatingPoint
    windows: Windows

    def probability(self, pair: SyntheticPair) -> Floats:
        """Return the calibrated probability of new lesion (x, y, z), 0 outside the brain, as `segment` computes it."""
        found, _ = predict_in_memory(
            self.run,
            np.where(pair.brain, pair.time1, np.float32(0)),
            np.where(pair.brain, pair.time2, np.float32(0)),
            pair.brain,
            self.windows,
            self.room_voxels,
        )
        return np.where(pair.brain, tempered(found, self.temperature), np.float32(0))


def open_predictor(network: Path, window: int | None, tta: bool, threads: int, device: str) -> Predictor:
    """Return the predictor of a folder of weights, or of a checkpoint or the folder of a run (its averaged network).

    Raises:
        WeightsError, InputError: neither is there.
    """
    use_threads(threads)
    chosen = choose_device(device, lambda _line: None)
    if (network / MANIFEST).is_file():
        weights = load_weights(network)
        unet, temperature, point = weights.network, weights.temperature, weights.operating_point
    else:
        unet, temperature, point = load_network(network), 1.0, OperatingPoint(0.5)
    precision = choose_precision("auto", chosen)
    run = network_runner(unet, chosen, precision)
    run = mirrored(run) if tta else run
    return Predictor(run, room_voxels(chosen, precision), temperature, point, Windows(window))


_OPTIONS = (
    click.option(
        "--network",
        default=REPOSITORY_FOLDER,
        type=click.Path(exists=True, path_type=Path),
        help="Folder of weights, folder of a run, or checkpoint.  [default: the shipped weights]",
    ),
    click.option("--window", type=int, help="Edge of the windows in mm.  [default: the whole brain]"),
    click.option("--tta", is_flag=True, help="Also look at mirrored heads: twice the time."),
    click.option("--threads", default=1, show_default=True, type=WHOLE, help="0: all that may be used."),
    click.option("--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"])),
)


def predictor_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that `open_predictor` takes."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
