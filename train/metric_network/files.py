"""Metric networks on disk: `metric_network.pt` in the folder of a run."""

import pickle
from pathlib import Path

import torch
from torch import Tensor

from lesionwise.errors import InputError
from train.metric_network.network import MetricNetwork

FILE = "metric_network.pt"


def save_metric_network(
    folder: Path, network: MetricNetwork, parameters: dict[str, Tensor], step: int
) -> None:
    """Write the network's settings with `parameters` (averaged ones, say) after `step` steps; in one step."""
    part = folder / f"{FILE}.part"
    torch.save({"settings": network.settings, "parameters": parameters, "step": step}, part)
    part.replace(folder / FILE)


def load_metric_network(path: Path) -> tuple[MetricNetwork, int]:
    """Return the network that a file, or a run's folder, holds, and for how many steps it was trained.

    Raises:
        InputError: the file is missing or holds no metric network.
    """
    file = path / FILE if path.is_dir() else path
    try:
        state = torch.load(file, weights_only=True, map_location="cpu")
        network = MetricNetwork(**state["settings"])
        network.load_state_dict(state["parameters"])
        return network, int(state["step"])
    except FileNotFoundError as error:
        raise InputError(
            f"{file}: there is no metric network; train one first (make metric-network)"
        ) from error
    except (pickle.UnpicklingError, RuntimeError, KeyError, TypeError, ValueError, EOFError) as error:
        raise InputError(f"{file}: this is no metric network; name the file or folder of one") from error
