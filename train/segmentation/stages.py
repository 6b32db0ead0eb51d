"""The segmentation network at stages of its training: kept in `stages/` of a run, for the metric network to learn from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lesionwise.network import UNet
from lesionwise.weights import MANIFEST, load_weights
from train.checkpoints import load_checkpoint, save_checkpoint
from train.loop import CHECKPOINT

FOLDER = "stages"


def is_stage(epoch: int) -> bool:
    """Tell whether the network is kept after this epoch: 1, 2, 4, 8 and so on, since it changes fastest early on."""
    return epoch > 0 and epoch & (epoch - 1) == 0


def save_stage(folder: Path, network: UNet, epoch: int) -> Path:
    """Keep the network's current parameters and return the file."""
    file = folder / FOLDER / f"epoch-{epoch:05d}.pt"
    file.parent.mkdir(exist_ok=True)
    save_checkpoint(file, {"network": network.state_dict()})
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
    file = path / CHECKPOINT if path.is_dir() else path
    return load_checkpoint(
        file,
        _network_of,
        "segmentation network",
        "name a run's folder, its checkpoint or a file of its stages",
    )


def _network_of(state: Mapping[str, Any]) -> UNet:
    parameters = state.get("averaged") or state["network"]
    network = UNet(width=len(parameters["encoder1.0.weight"]), dropout=0.0)
    network.load_state_dict(parameters)
    return network.eval()
