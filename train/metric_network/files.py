"""Metric networks on disk: `metric_network.pt` in the folder of a run, or exported tensors beside a manifest."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from lesionwise.errors import InputError
from lesionwise.files import bytes_writer, json_writer, write_whole
from train.checkpoints import Taken, load_checkpoint, reading, save_checkpoint
from train.held_out import NO_PATIENTS, HeldOut
from train.metric_network.network import MetricNetwork

FILE = "metric_network.pt"
MANIFEST, TENSORS = "manifest.json", "metric_network.safetensors"


def save_metric_network(
    folder: Path,
    network: MetricNetwork,
    parameters: dict[str, Tensor],
    step: int,
    held_out: HeldOut = NO_PATIENTS,
) -> None:
    """Write the network's settings with `parameters` (averaged ones, say) after `step` steps; in one step.

    `held_out`: the patients whose truths it has not learned and those whose it has.
    """
    state = {"settings": network.settings, "parameters": parameters, "step": step, **held_out.stated()}
    save_checkpoint(folder / FILE, state)


def export_metric_network(
    folder: Path,
    network: MetricNetwork,
    step: int,
    facts: Mapping[str, Any],
    held_out: HeldOut = NO_PATIENTS,
) -> dict[str, Any]:
    """Write the tensors, and a manifest with their sha256 and `facts` (figures, command); return the manifest.

    `held_out`: as `save_metric_network`.
    """
    content = safetensors.torch.save({name: t.contiguous() for name, t in network.state_dict().items()})
    computed = {
        "file": TENSORS,
        "sha256": hashlib.sha256(content).hexdigest(),
        "settings": network.settings,
        "step": step,
        **held_out.stated(),
    }
    # Facts may be an older manifest, edited: what is computed wins.
    manifest = {**computed, **facts, **computed}
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(
        {
            folder / TENSORS: bytes_writer(content),
            folder / MANIFEST: json_writer(manifest),
        }
    )
    return manifest


def load_metric_network(path: Path) -> tuple[MetricNetwork, int]:
    """Return the network that a file, a run's folder or an exported folder holds, and for how many steps it was trained.

    Raises:
        InputError: the file is missing or holds no metric network, or tensors are not those that the manifest names.
    """
    return _read(path, _network_of)


def held_out_of(path: Path) -> HeldOut:
    """Return the patients whose truths it has not learned and has, as it states them. Raises as `load_metric_network`."""
    return _read(path, HeldOut.stated_in)


def _read(path: Path, take: Callable[[dict[str, Any]], Taken]) -> Taken:
    file = path / FILE if path.is_dir() else path
    what, advice = "metric network", "name the file or folder of one (make metric-network trains one)"
    if path.is_dir() and not file.exists() and (path / MANIFEST).is_file():
        with reading(path, what, advice):
            return take(_exported(path))
    return load_checkpoint(file, take, what, advice)


def _network_of(state: Mapping[str, Any]) -> tuple[MetricNetwork, int]:
    network = MetricNetwork(**{name: value for name, value in state["settings"].items() if name != "members"})
    network.load_state_dict({_present_name(name): value for name, value in state["parameters"].items()})
    return network, int(state["step"])


def _present_name(name: str) -> str:
    """Return the name of a tensor: networks once had several members, and those that are kept have the first alone."""
    return name.replace("members.0.", "head.", 1)


def _exported(folder: Path) -> dict[str, Any]:
    manifest = json.loads((folder / MANIFEST).read_bytes())
    content = (folder / TENSORS).read_bytes()
    if hashlib.sha256(content).hexdigest() != manifest["sha256"]:
        raise InputError(f"{folder / TENSORS}: these are not the bytes that {MANIFEST} names; get them again")
    return {**manifest, "parameters": safetensors.torch.load(content)}
