"""The first half of a case's story: files -> volumes -> preprocessing; all that comes before the network."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lesionwise.case_description import file_hashes
from lesionwise.case_files import Case
from lesionwise.engine import Settings
from lesionwise.errors import TIMES, PreprocessingError, about
from lesionwise.files import check_outputs, unchanged
from lesionwise.network_grid import NetworkGrid, network_grid
from lesionwise.plausibility import (
    implausible_brain,
    implausible_contrast,
    implausible_pair,
    implausible_resolution,
    implausible_scan,
)
from lesionwise.preprocessing.normalization import normalize
from lesionwise.preprocessing.recipe import CPU, Recipe, preprocess_pair
from lesionwise.preprocessing.registration_residual import registration_residual_mm
from lesionwise.progress import Progress
from lesionwise.scan_pair import (
    WORKING_ORDER,
    ScanPair,
    Study,
    leave_out_unseen,
    note_oddities,
    prepare_study,
    read_pair,
)
from lesionwise.volume import Volume, check_nifti_name, to_orientation
from lesionwise.weights import weights_files
from lesionwise.working_resolution import TOO_THIN, at_working_resolution, outputs_as_read

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class PreparedPair:
    """What the network sees: both time points and the brain on its grid (right, anterior, superior)."""

    time1: Floats
    time2: Floats
    brain: NDArray[np.bool_]
    grid: NetworkGrid


@dataclass(frozen=True)
class Scans:
    """The inputs of a case as read, and the sha256 of each file."""

    pair: ScanPair
    sha256: Mapping[str, str]


@dataclass(frozen=True)
class PreparedCase:
    """A case ready for the network.

    `brain`: what of the study's brain both scans reached; `inside`: the same in `WORKING_ORDER`. `residual_mm`: how far
    both time points are still apart, None where that cannot be told.
    """

    scans: Scans
    study: Study
    brain: Volume
    inside: Volume
    pair: PreparedPair
    residual_mm: float | None


def read_case(case: Case, settings: Settings, progress: Progress) -> Scans:
    """Read and check the inputs, and check that the outputs can be written."""
    with progress.step("reading"):
        for path in (case.output, case.probabilities):
            if path:
                check_nifti_name(path)
        check_outputs(case.outputs, [*case.inputs.values(), *weights_files(settings.weights)])
        with unchanged(case.inputs.values()):
            pair = read_pair(case.time1, case.time2, case.brain_mask, one_grid=not settings.register)
            hashes = file_hashes(case.inputs)
        note_oddities(pair.time1, pair.time2, progress)
        return Scans(pair, hashes)


def prepare_case(
    scans: Scans, settings: Settings, threads: int, progress: Progress, device: torch.device = CPU
) -> PreparedCase:
    """Find the brain and preprocess: all that comes before the network; on the CPU, but a GPU denoises."""
    output_grid = settings.output_grid if settings.register else None
    with progress.step("resampling"):
        joined = at_working_resolution(scans.pair)
    study = prepare_study(joined, output_grid, settings.brain_extraction, threads, progress)
    study = outputs_as_read(study, joined, scans.pair)
    brain = leave_out_unseen(study.time1, study.time2, study.brain, progress)
    first, second, inside = (to_orientation(v, WORKING_ORDER) for v in (study.time1, study.time2, brain))
    pair = prepare_pair(first, second, inside, settings.recipe, threads, progress, device)
    with progress.step("measuring the registration"):
        residual_mm = registration_residual_mm(pair.time1, pair.time2, pair.brain)
    prepared = PreparedCase(scans, study, brain, inside, pair, residual_mm)
    for line in oddities(prepared):
        progress.warn(line)
    return prepared


def oddities(case: PreparedCase) -> Iterator[str]:
    """Yield in what a case is unlike those that the program was made for: lines for the report's `warnings`."""
    study, scans, seen = case.study, case.scans.pair, case.pair
    for name, as_read, on_grid, prepared in zip(
        TIMES,
        (scans.time1, scans.time2),
        (study.time1, study.time2),
        (seen.time1, seen.time2),
        strict=True,
    ):
        yield from implausible_resolution(name, as_read.spacing_mm)
        yield from implausible_scan(name, on_grid.data, case.brain.data, on_grid.spacing_mm)
        yield from implausible_contrast(name, prepared, seen.brain)
    yield from implausible_brain(study.brain.data, study.brain.voxel_mm3)
    yield from implausible_pair(seen.time1, seen.time2, seen.brain, case.residual_mm)


def prepare_pair(
    time1: Volume,
    time2: Volume,
    brain: Volume,
    recipe: Recipe,
    threads: int,
    progress: Progress,
    device: torch.device = CPU,
) -> PreparedPair:
    """Return what the network sees of a case: masked, corrected, on one scale of intensity, on its grid."""
    with progress.steps() as on_step:
        pair = preprocess_pair(time1.data, time2.data, brain.data, recipe, threads, on_step, device=device)
        on_step("normalisation")
        normalised = []
        for name, image in zip(TIMES, pair, strict=True):
            with about(name):
                normalised.append(normalize(image, brain.data))
        on_step("resampling")
        grid = network_grid(brain.data, brain.affine)
        first, inside = grid.brain_to_network(normalised[0], brain.data)
        second, _ = grid.brain_to_network(normalised[1], brain.data)
    if not inside.any():
        raise PreprocessingError(TOO_THIN)
    return PreparedPair(first, second, inside, grid)
