"""The segmentation network at stages of its training: kept in `stages/` of a run, for the metric network to learn from."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lesionwise.network import UNet
from lesionwise.weights import MANIFEST, load_weights
from train.checkpoints import Taken, load_checkpoint, save_checkpoint
from train.held_out import HeldOut
from train.loop import CHECKPOINT

FOLDER = "stages"


def is_stage(epoch: int) -> bool:
    """Tell whether the network is kept after this epoch: 1, 2, 4, 8 and so on, since it changes fastest early on."""
    return epoch > 0 and epoch & (epoch - 1) == 0


def save_stage(folder: Path, network: UNet, epoch: int, held_out: HeldOut) -> Path:
    """Keep the network's current parameters, and which patients it has not seen and which it has, and return the file."""
    file = folder / FOLDER / f"epoch-{epoch:05d}.pt"
    file.parent.mkdir(exist_ok=True)
    save_checkpoint(file, {"network": network.state_dict(), **held_out.stated()})
    return file


def load_network(path: Path) -> UNet:
    """Return the network of a stage, of a run's checkpoint (its averaged parameters) or folder, or of a folder of weights.

    The width is read from the parameters. Without dropout: for inference.

    Raises:
        InputError: there is no such file, or it holds no segmentation network.
        WeightsError: the weights of a folder are not what its manifest says.
    """
    if (path / MANIFEST).is_file():
        return load_weights(path).network
    return _read(path, _network_of)


def held_out_of(path: Path) -> HeldOut:
    """Return the patients that the run of such a file held out and learned, as it states them. Raises as `load_network`."""
    if (path / MANIFEST).is_file():
        return HeldOut.stated_in(load_weights(path).manifest)
    return _read(path, HeldOut.stated_in)


def _read(path: Path, take: Callable[[dict[str, Any]], Taken]) -> Taken:
    file = path / CHECKPOINT if path.is_dir() else path
    advice = "name a run's folder, its checkpoint or a file of its stages"
    return load_checkpoint(file, take, "segmentation network", advice)


def _network_of(state: Mapping[str, Any]) -> UNet:
    parameters = state.get("averaged") or state["network"]
    network = UNet(width=len(parameters["encoder1.0.weight"]), dropout=0.0)
    network.load_state_dict(parameters)
    return network.eval()
