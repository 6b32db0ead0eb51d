"""What is said of a result, in the JSON and in the report: never the name of a file or a patient."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lesionwise import __version__
from lesionwise.engine import Engine, Settings
from lesionwise.errors import InputError
from lesionwise.inference import Windows
from lesionwise.lesions import Lesion
from lesionwise.progress import Progress
from lesionwise.report.places import CasePlaces
from lesionwise.scan_pair import ScanPair, Study
from lesionwise.versions import installed_versions, program_sha256


def file_hashes(files: Mapping[str, Path]) -> dict[str, str]:
    """Return the sha256 of each file's bytes. Raises `InputError` where one cannot be read."""
    return {name: file_sha256(path) for name, path in files.items()}


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes. Raises `InputError` where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its name") from error


def describe_computation(settings: Settings, engine: Engine) -> dict[str, Any]:
    """Return what a result depends on beside the inputs.

    Two runs that agree in this give the same mask, map and table, where memory allows the windows that are asked for.
    """
    confidence = engine.confidence
    return {
        "lesionwise": __version__,
        "program_sha256": program_sha256(),
        "weights_sha256": engine.weights.sha256,
        "settings": {
            "threshold": engine.operating_point.threshold,
            "certainty": engine.operating_point.certainty,
            "temperature": engine.weights.temperature,
            "lesion_confidence": asdict(confidence) if confidence else None,
            "window": window_in_words(settings.windows),
            "overlap": settings.windows.overlap,
            "tta": settings.tta,
            "registered_to": settings.output_grid if settings.register else None,
            "brain_extraction": settings.brain_extraction,
            "preprocessing": list(settings.recipe.steps),
            "precision": str(engine.precision).removeprefix("torch."),
        },
    }


def window_in_words(windows: Windows) -> int | str:
    """Return the edge of windows in mm, or "brain" where one holds all of it."""
    return windows.edge or "brain"


def describe_case(
    lesions: Sequence[Lesion],
    places: CasePlaces | None,
    pair: ScanPair,
    study: Study,
    residual_mm: float | None,
    inputs_sha256: Mapping[str, str],
    settings: Settings,
    windows_used: Windows,
    engine: Engine,
    progress: Progress,
) -> dict[str, Any]:
    """Return what there is to know of a result, with no name of a file or a patient; `places` where they were asked for.

    `windows_used`: those of the settings, or smaller ones for lack of memory.
    """
    computation = describe_computation(settings, engine)
    return {
        "lesionwise": computation["lesionwise"],
        "new_lesions": len(lesions),
        "new_lesion_volume_mm3": round(sum(lesion.volume_mm3 for lesion in lesions), 3),
        "brain_volume_ml": round(float(study.brain.data.sum()) * study.brain.voxel_mm3 / 1000, 1),
        **pair.as_json(),
        **study.as_json(),
        "registration_residual_mm": None if residual_mm is None else round(residual_mm, 2),
        **(places.as_json() if places else {}),
        "lesions": [
            asdict(lesion) | (places.of(lesion.id).as_json() if places else {}) for lesion in lesions
        ],
        "warnings": progress.warnings,
        "settings": computation["settings"]
        | {
            "window_used": window_in_words(windows_used),
            "device": engine.device.type,
            "threads": engine.threads,
        },
        "inputs_sha256": dict(inputs_sha256),
        "weights_sha256": computation["weights_sha256"],
        "program_sha256": computation["program_sha256"],
        "versions": installed_versions(),
        "seconds": progress.seconds,
    }
