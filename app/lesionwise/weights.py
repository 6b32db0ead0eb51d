"""Trained weights: found, verified and described. A folder holds a manifest and the tensors it names.

The manifest, `manifest.json`, states the file's sha256, the architecture, the operating point, and what a reader
needs to judge the weights: training data with licences, command, commit, validation scores.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save

from lesionwise.allowed import CERTAINTY, THRESHOLD
from lesionwise.errors import WeightsError
from lesionwise.files import bytes_writer, json_writer, write_whole
from lesionwise.lesions import OperatingPoint
from lesionwise.network import UNet

MANIFEST = "manifest.json"
TENSORS = "segmentation.safetensors"
ENVIRONMENT_VARIABLE = "LESIONWISE_WEIGHTS"
CONTAINER_FOLDER = Path("/opt/lesionwise/weights")
REPOSITORY_FOLDER = Path(__file__).resolve().parents[2] / "weights"
"""Beside `app` in the repository, where an installation is editable."""


@dataclass(frozen=True)
class Weights:
    """A network in inference mode, the operating point chosen with it, and what its manifest says.

    `temperature`: what its logits are divided by to make them probabilities; the operating point is for the result.
    """

    network: UNet
    operating_point: OperatingPoint
    sha256: str
    manifest: Mapping[str, Any]
    temperature: float = 1.0


def find_weights(asked: Path | None = None) -> Path:
    """Return the folder of weights: as asked, else by the environment, the repository's, the container's.

    Raises `WeightsError` where there is no manifest or a folder cannot be looked into; a folder that was named is never
    replaced by another.
    """
    named = named_weights(asked)
    if named is not None:
        if not _holds_manifest(named):
            raise WeightsError(
                f"{named}: this folder has no {MANIFEST}; name the folder that holds the weights"
            )
        return named
    for folder in (REPOSITORY_FOLDER, CONTAINER_FOLDER):
        if _holds_manifest(folder):
            return folder
    raise WeightsError(f"no weights were found; name their folder with --weights or {ENVIRONMENT_VARIABLE}")


def named_weights(asked: Path | None = None) -> Path | None:
    """Return the folder that was named: `asked`, else by the environment; None where neither names one."""
    return asked or (Path(value) if (value := os.environ.get(ENVIRONMENT_VARIABLE)) else None)


def weights_files(asked: Path | None = None) -> list[Path]:
    """Return the files that `find_weights` leads to: no output may replace them. Raises as that."""
    folder = find_weights(asked)
    return [folder / MANIFEST, folder / TENSORS]


def load_weights(folder: Path) -> Weights:
    """Load the weights of a folder after checking that they are the bytes their manifest names.

    Tensors may be stored in float16 to halve the file; they are computed with in float32.
    Raises `WeightsError` for a missing or changed file, and for tensors that are not the network's.
    """
    manifest = _read_manifest(folder / MANIFEST)
    path = folder / manifest["file"]
    content = _read(path)
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != manifest["sha256"]:
        raise WeightsError(f"{path}: these are not the bytes that {MANIFEST} names; get the weights again")
    try:
        network = UNet(width=manifest["architecture"]["width"], groups=manifest["architecture"]["groups"])
        tensors = load(content)
        if not all(tensor.is_floating_point() and tensor.isfinite().all() for tensor in tensors.values()):
            raise ValueError("not all tensors hold finite numbers")
        network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, strict=True)
    except (SafetensorError, RuntimeError, ValueError) as error:
        reason = str(error).replace("\n", " ")[:200]
        raise WeightsError(f"{path}: not the tensors of the network in {MANIFEST} ({reason})") from error
    temperature = float(manifest.get("temperature", 1.0))
    point = OperatingPoint(manifest["threshold"], float(manifest["certainty"]))
    return Weights(network.eval(), point, sha256, manifest, temperature)


def stated_weights(asked: Path | None = None) -> bytes:
    """Return the manifest as it is stored, which names the bytes of the tensors: it tells new weights from former ones.

    Raises `WeightsError` where it cannot be read.
    """
    return _read(find_weights(asked) / MANIFEST)


def save_weights(
    folder: Path, network: UNet, width: int, groups: int, point: OperatingPoint, facts: Mapping[str, Any]
) -> None:
    """Write a network's weights as float16 with their manifest; both files or none.

    `facts` is added to the manifest: training data with licences, command, commit, validation scores.
    """
    content = save(
        {name: tensor.detach().half().contiguous() for name, tensor in network.state_dict().items()}
    )
    manifest = {
        "file": TENSORS,
        "sha256": hashlib.sha256(content).hexdigest(),
        "architecture": {"name": "UNet", "in_channels": 2, "width": width, "groups": groups},
        "threshold": point.threshold,
        "certainty": point.certainty,
        **facts,
    }
    write_whole({folder / TENSORS: bytes_writer(content), folder / MANIFEST: json_writer(manifest)})


def _holds_manifest(folder: Path) -> bool:
    try:
        return (folder / MANIFEST).is_file()
    except OSError as error:
        raise WeightsError(
            f"{folder}: cannot be looked into ({error.strerror}); get its permissions, or name another folder"
        ) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); get the weights again") from error


def _read_manifest(path: Path) -> dict[str, Any]:
    """Read a manifest and check the entries that the program relies on."""
    try:
        manifest = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: cannot be read as JSON; get the weights again") from error
    match manifest:
        case {
            "file": str(file),
            "sha256": str(),
            "architecture": {"name": "UNet", "in_channels": 2, "width": int(width), "groups": int(groups)},
            "threshold": float(threshold),
            "certainty": float(certainty) | int(certainty),  # some that write JSON leave 0.0 no point
        } if (
            Path(file).name == file
            and 1 <= groups <= width <= 96
            and width % groups == 0
            and THRESHOLD.hold(threshold)
            and certainty is not False
            and CERTAINTY.hold(certainty)
            and isinstance(temperature := manifest.get("temperature", 1.0), int | float)
            and 0.1 <= temperature <= 10
        ):
            return dict(manifest)
    raise WeightsError(f"{path}: an entry is missing or has an impossible value; get the weights again")
