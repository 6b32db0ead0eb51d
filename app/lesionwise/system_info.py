"""What `lesionwise info` tells: versions, device, weights and memory, and why it is so."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lesionwise import __version__
from lesionwise.devices import choose_device, choose_precision, describe, use_threads
from lesionwise.memory import free_bytes
from lesionwise.versions import installed_versions
from lesionwise.weights import find_weights, load_weights

CASE_MEMORY_GB = 3
"""With so much a real pair is segmented on a CPU: the container's tests allow no more."""


def version_lines() -> list[str]:
    """Return the program's version, and those of the packages that results depend on."""
    return [__version__, ", ".join(f"{name} {version}" for name, version in installed_versions().items())]


def device_lines(device: str, precision: str, threads: int) -> list[str]:
    """Return where the network would run with these options, and why. Raises `DeviceError`."""
    reasons: list[str] = []
    chosen = choose_device(device, reasons.append)
    numbers = choose_precision(precision, chosen)
    if device == "cpu":
        reasons.append("--device cpu was asked for")
    elif chosen.type == "cuda":
        reasons.append("a convolution on this GPU gave the CPU's result")
    if precision != "auto":
        reasons.append(f"--precision {precision} was asked for")
    elif chosen.type == "cpu":
        native = str(numbers) == "torch.bfloat16"
        reasons.append(
            f"this processor {'multiplies bfloat16 itself' if native else 'would emulate bfloat16'}"
        )
    return [describe(chosen, numbers, use_threads(threads)), *reasons]


def weights_lines(asked: Path | None) -> list[str]:
    """Return which weights would be used, verified, and their model card in short. Raises `WeightsError`."""
    folder = find_weights(asked)
    weights = load_weights(folder)
    manifest, point = weights.manifest, weights.operating_point
    parameters = sum(parameter.numel() for parameter in weights.network.parameters())
    lines = [
        str(folder),
        f"sha256 {weights.sha256[:16]}..., as the manifest says",
        f"{manifest['architecture']['name']}, {parameters} parameters",
        f"threshold {point.threshold:g}, certainty {point.certainty:g}",
    ]
    lines += [f"trained on: {source}" for source in _training_data(manifest)]
    lines += _validation(_mapping(manifest.get("validation")))
    if (folder / "README.md").is_file():
        lines.append(f"model card: {folder / 'README.md'}")
    return lines


def memory_lines() -> list[str]:
    """Return how much memory a case needs and how much is free."""
    needed = (
        f"{CASE_MEMORY_GB} GB are enough for a pair of whole heads of 1 mm voxels on a CPU;"
        " finer voxels, and the second case that batch prepares meanwhile, need more"
    )
    free_gb = free_bytes(torch.device("cpu")) / 1e9
    if math.isinf(free_gb):
        return [needed, "how much is free is not known here"]
    return [needed, f"{free_gb:.1f} GB are free, within the limits of a container or a job"]


def _training_data(manifest: Mapping[str, Any]) -> list[str]:
    """Return what the manifest says of the training data, a line each, in whatever form it says so."""
    sources = manifest.get("training_data")
    if not isinstance(sources, list):
        return ["not told"]
    return [
        f"{_told(source.get('name'), 'name')} ({_told(source.get('licence'), 'licence')})"
        if isinstance(source, Mapping)
        else _told(source, "name")
        for source in sources
    ]


def _validation(told: Mapping[str, Any]) -> list[str]:
    """Return what the manifest says of the validation: how it was done in a line, then a row of scores a case."""
    scores = _mapping(told.get("scores"))
    rows = {name: row for name, row in scores.items() if isinstance(row, Mapping)}
    if not rows:
        return ["validation: no scores in the manifest; see the model card"]
    how = [f"{k} {v}" for k, v in told.items() if isinstance(v, str | int | float)]
    measures = list(dict.fromkeys(measure for row in rows.values() for measure in row))
    width = max(map(len, rows))
    lines = [f"  {'':{width}}  {'  '.join(measures)}"]
    for name, row in rows.items():
        cells = (f"{_number(row.get(measure)):>{len(measure)}}" for measure in measures)
        lines.append(f"  {name:{width}}  {'  '.join(cells)}")
    return ["validation" + (f": {', '.join(how)}" if how else ""), *lines]


def _mapping(value: Any) -> Mapping[str, Any]:
    """Return the value where it is a mapping, else an empty one: others write manifests, too."""
    return value if isinstance(value, Mapping) else {}


def _told(value: Any, what: str) -> str:
    return str(value) if isinstance(value, str | int | float) else f"{what} not told"


def _number(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else f"{value}" if isinstance(value, str | int) else "-"
