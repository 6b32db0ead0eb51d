"""The story of one case: files -> volumes -> preprocessing -> network -> lesions -> files."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lesionwise import __version__
from lesionwise.devices import choose_device, choose_precision, describe, use_threads
from lesionwise.files import Writer, check_outputs, json_writer, write_whole
from lesionwise.inference import WINDOWS_AT_ONCE, network_runner, predict_probabilities
from lesionwise.lesions import Lesion, lesion_table, remove_small_lesions
from lesionwise.network import PATCH_SIZE
from lesionwise.network_grid import NetworkGrid, network_grid
from lesionwise.preprocessing.brain_routes import DEFAULT_EXTRACTION
from lesionwise.preprocessing.normalization import normalize
from lesionwise.preprocessing.recipe import DEFAULT_RECIPE, RECIPES, Recipe, preprocess_pair
from lesionwise.progress import Progress
from lesionwise.scan_pair import (
    DEFAULT_OUTPUT_GRID,
    WORKING_ORDER,
    ScanPair,
    Study,
    leave_out_unseen,
    note_oddities,
    prepare_study,
    read_pair,
)
from lesionwise.versions import installed_versions
from lesionwise.volume import Volume, check_nifti_name, image_writer, in_order_of, mask_writer, to_orientation
from lesionwise.weights import Weights, find_weights, load_weights

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """The files of one case: two scans in, a mask and on request more out."""

    time1: Path
    time2: Path
    output: Path
    probabilities: Path | None = None
    table: Path | None = None
    brain_mask: Path | None = None

    @property
    def inputs(self) -> list[Path]:
        """The files that are read."""
        return [path for path in (self.time1, self.time2, self.brain_mask) if path]

    @property
    def outputs(self) -> list[Path]:
        """The files that are written."""
        return [path for path in (self.output, self.probabilities, self.table) if path]


@dataclass(frozen=True)
class Settings:
    """How a case is computed. `threshold` None: the weights' own. `threads` 0: all that may be used.

    `output_grid` counts with `register` only: the mask then lies on the grid of "time1", "time2" or "halfway".
    """

    recipe: Recipe = RECIPES[DEFAULT_RECIPE]
    register: bool = False
    output_grid: str = DEFAULT_OUTPUT_GRID
    brain_extraction: str = DEFAULT_EXTRACTION
    threshold: float | None = None
    overlap: float = 0.5
    weights: Path | None = None
    threads: int = 1
    device: str = "auto"
    precision: str = "auto"


@dataclass(frozen=True)
class PreparedPair:
    """What the network sees: both time points and the brain on its grid (right, anterior, superior)."""

    time1: Floats
    time2: Floats
    brain: NDArray[np.bool_]
    grid: NetworkGrid


@dataclass(frozen=True)
class Engine:
    """What computes: the weights and where they run. One engine serves many cases."""

    weights: Weights
    device: torch.device
    precision: torch.dtype
    threads: int
    threshold: float
    stride: int

    @classmethod
    def start(cls, settings: Settings, progress: Progress) -> "Engine":
        """Load the weights and choose the device. Raises `WeightsError` or `DeviceError`."""
        threads = use_threads(settings.threads)
        weights = load_weights(find_weights(settings.weights))
        device = choose_device(settings.device, progress.note)
        precision = choose_precision(settings.precision, device)
        threshold = weights.threshold if settings.threshold is None else settings.threshold
        stride = max(1, round(PATCH_SIZE * (1 - settings.overlap)))
        progress.note(f"network on {describe(device, precision, threads)}")
        return cls(weights, device, precision, threads, threshold, stride)


def segment_case(case: Case, settings: Settings, progress: Progress) -> dict[str, Any]:
    """Segment the new lesions of one case, write its outputs and return what `--json` holds.

    All that can be refused is refused before the long work, and outputs appear only when all is done.
    Raises the errors of `lesionwise.errors`.
    """
    with progress.step("reading"):
        scans = read_case(case, settings)
        note_oddities(scans.time1, scans.time2, progress)
    with progress.step("loading the network"):
        engine = Engine.start(settings, progress)

    output_grid = settings.output_grid if settings.register else None
    study = prepare_study(scans, output_grid, settings.brain_extraction, engine.threads, progress)
    brain_ml = float(study.brain.data.sum()) * study.brain.voxel_mm3 / 1000
    brain = leave_out_unseen(study.time1, study.time2, study.brain, progress)
    first, second, inside = (to_orientation(v, WORKING_ORDER) for v in (study.time1, study.time2, brain))
    pair = prepare_pair(first, second, inside, settings.recipe, engine.threads, progress)
    probability = study.to_output(in_order_of(predict(pair, inside, engine, progress), inside, brain))
    with progress.step("finding lesions"):
        mask = remove_small_lesions(probability > engine.threshold, study.output.spacing_mm)
        lesions = lesion_table(mask, probability, study.output.affine, study.output.spacing_mm)

    report = describe_case(lesions, brain_ml, study, settings, engine, progress)
    with progress.step("writing"):
        write_whole(writers(case, mask, probability, report, study.output))
    progress.note(f"{len(lesions)} new lesions, {report['new_lesion_volume_mm3']:g} mm3")
    return report


def read_case(case: Case, settings: Settings) -> ScanPair:
    """Read and check the inputs, and check that the outputs can be written."""
    for path in (case.output, case.probabilities):
        if path:
            check_nifti_name(path)
    check_outputs(case.outputs, case.inputs)
    return read_pair(case.time1, case.time2, case.brain_mask, one_grid=not settings.register)


def prepare_pair(
    time1: Volume, time2: Volume, brain: Volume, recipe: Recipe, threads: int, progress: Progress
) -> PreparedPair:
    """Return what the network sees of a case: masked, corrected, on one scale of intensity, on its grid."""
    with progress.steps() as on_step:
        pair = preprocess_pair(time1.data, time2.data, brain.data, recipe, threads, on_step)
        on_step("normalisation")
        pair = normalize(pair[0], brain.data), normalize(pair[1], brain.data)
        on_step("resampling")
        grid = network_grid(brain.data, brain.affine)
        first, inside = grid.brain_to_network(pair[0], brain.data)
        second, _ = grid.brain_to_network(pair[1], brain.data)
    return PreparedPair(first, second, inside, grid)


def predict(pair: PreparedPair, brain: Volume, engine: Engine, progress: Progress) -> Floats:
    """Return the probability of new lesion on the grid of the brain mask, 0 outside the brain."""
    with progress.step("running the network"):
        run = network_runner(engine.weights.network, engine.device, engine.precision)
        probability = predict_probabilities(
            run,
            pair.time1,
            pair.time2,
            pair.brain,
            stride=engine.stride,
            windows_at_once=WINDOWS_AT_ONCE[engine.device.type],
            on_progress=progress.advance,
        )
    with progress.step("resampling"):
        return np.where(brain.data, pair.grid.to_scan(probability), np.float32(0))


def describe_case(
    lesions: Sequence[Lesion],
    brain_ml: float,
    study: Study,
    settings: Settings,
    engine: Engine,
    progress: Progress,
) -> dict[str, Any]:
    """Return what there is to know of a result, with no name of a file or a patient."""
    return {
        "lesionwise": __version__,
        "new_lesions": len(lesions),
        "new_lesion_volume_mm3": round(sum(lesion.volume_mm3 for lesion in lesions), 3),
        "brain_volume_ml": round(brain_ml, 1),
        **study.as_json(),
        "lesions": [asdict(lesion) for lesion in lesions],
        "warnings": progress.warnings,
        "settings": {
            "threshold": engine.threshold,
            "overlap": settings.overlap,
            "preprocessing": list(settings.recipe.steps),
            "device": engine.device.type,
            "precision": str(engine.precision).removeprefix("torch."),
            "threads": engine.threads,
        },
        "weights_sha256": engine.weights.sha256,
        "versions": installed_versions(),
        "seconds": progress.seconds,
    }


def writers(
    case: Case, mask: NDArray[np.bool_], probability: Floats, report: Mapping[str, Any], like: Volume
) -> dict[Path, Writer]:
    """Return what writes each output that was asked for."""
    outputs = {case.output: mask_writer(case.output, mask, like)}
    if case.probabilities:
        outputs[case.probabilities] = image_writer(case.probabilities, probability, like)
    if case.table:
        outputs[case.table] = json_writer(report)
    return outputs
