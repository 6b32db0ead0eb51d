"""The segmentation network at stages of its training: kept in `stages/` of a run, for the metric network to learn from."""

import pickle
from pathlib import Path

import torch

from lesionwise.errors import InputError
from lesionwise.network import UNet
from train.loop import CHECKPOINT

FOLDER = "stages"


def is_stage(epoch: int) -> bool:
    """Tell whether the network is kept after this epoch: 1, 2, 4, 8 and so on, since it changes fastest early on."""
    return epoch > 0 and epoch & (epoch - 1) == 0


def save_stage(folder: Path, network: UNet, epoch: int) -> Path:
    """Keep the network's current parameters and return the file."""
    file = folder / FOLDER / f"epoch-{epoch:05d}.pt"
    file.parent.mkdir(exist_ok=True)
    part = file.with_suffix(".part")
    torch.save({"network": network.state_dict()}, part)
    part.replace(file)
    return file


def load_network(path: Path) -> UNet:
    """Return the network of a stage or of a run's checkpoint (its averaged parameters), or of a run's folder.

    The width is read from the parameters. Without dropout: for inference.

    Raises:
        InputError: there is no such file, or it holds no segmentation network.
    """
    file = path / CHECKPOINT if path.is_dir() else path
    try:
        state = torch.load(file, weights_only=True, map_location="cpu")
        parameters = state.get("averaged") or state["network"]
        network = UNet(width=len(parameters["encoder1.0.weight"]), dropout=0.0)
        network.load_state_dict(parameters)
    except FileNotFoundError as error:
        raise InputError(
            f"{file}: there is no checkpoint; name a run's folder or a file of its stages"
        ) from error
    except (pickle.UnpicklingError, RuntimeError, KeyError, AttributeError, EOFError) as error:
        raise InputError(f"{file}: this holds no segmentation network; name a checkpoint of one") from error
    return network.eval()
