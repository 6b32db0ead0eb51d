"""What `lesionwise info` tells: versions, device, weights and memory, and why it is so."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lesionwise import __version__
from lesionwise.devices import choose_device, choose_precision, describe, use_threads
from lesionwise.versions import installed_versions
from lesionwise.weights import find_weights, load_weights

CASE_MEMORY_GB = 3
"""With so much a real pair is segmented on a CPU: the container's tests allow no more."""

MEMORY_FACTS = Path("/proc/meminfo")


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
    manifest = weights.manifest
    parameters = sum(parameter.numel() for parameter in weights.network.parameters())
    lines = [
        str(folder),
        f"sha256 {weights.sha256[:16]}..., as the manifest says",
        f"{manifest['architecture']['name']}, {parameters} parameters; threshold {weights.threshold:g}",
    ]
    lines += [f"trained on: {source}" for source in _training_data(manifest)]
    lines.append(f"validation: {_validation(manifest)}")
    if (folder / "README.md").is_file():
        lines.append(f"model card: {folder / 'README.md'}")
    return lines


def memory_lines(read: Callable[[], str] = MEMORY_FACTS.read_text) -> list[str]:
    """Return how much memory a case needs and how much is free."""
    needed = (
        f"{CASE_MEMORY_GB} GB are enough for a pair of whole heads of 1 mm voxels on a CPU;"
        " finer voxels, and a second case with batch --prefetch, need more"
    )
    try:
        facts = dict(line.split(":", 1) for line in read().splitlines() if ":" in line)
        available_gb = int(facts["MemAvailable"].split()[0]) * 1024 / 1e9
    except (OSError, KeyError, ValueError):
        return [needed, "how much is free is not known here"]
    return [needed, f"{available_gb:.1f} GB are free on this machine (a container may be allowed less)"]


def _training_data(manifest: Mapping[str, Any]) -> list[str]:
    sources = manifest.get("training_data")
    if not isinstance(sources, list):
        return ["not told"]
    return [f"{source['name']} ({source.get('licence', 'licence not told')})" for source in sources]


def _validation(manifest: Mapping[str, Any]) -> str:
    scores = manifest.get("validation")
    return ", ".join(_flat(scores)) if scores else "no scores in the manifest; see the model card"


def _flat(value: Any, name: str = "") -> Iterator[str]:
    """Yield "name value" for each value, however deep: names are joined with spaces."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name} {key}".strip())
    else:
        yield f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
