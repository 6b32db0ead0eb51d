"""The story of one case: files -> volumes -> preprocessing -> network -> lesions -> files."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lesionwise.calibration import tempered
from lesionwise.case_description import describe_case, file_hashes
from lesionwise.case_files import Case, outdated_extras
from lesionwise.engine import Engine, Settings
from lesionwise.errors import about
from lesionwise.files import (
    Writer,
    check_outputs,
    content,
    json_writer,
    output_folder,
    text_writer,
    unchanged,
    write_whole,
)
from lesionwise.inference import Windows, predict_in_memory
from lesionwise.lesions import find_lesions, lesion_table
from lesionwise.memory import room_voxels
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
from lesionwise.report.case_images import case_images
from lesionwise.report.page import case_page
from lesionwise.report.template_maps import place_case
from lesionwise.scan_pair import (
    TIMES,
    WORKING_ORDER,
    ScanPair,
    Study,
    leave_out_unseen,
    note_oddities,
    prepare_study,
    read_pair,
)
from lesionwise.volume import Volume, check_nifti_name, image_writer, in_order_of, mask_writer, to_orientation
from lesionwise.weights import weights_files
from lesionwise.working_resolution import at_working_resolution, outputs_as_read

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


def segment_case(case: Case, settings: Settings, progress: Progress) -> dict[str, Any]:
    """Segment the new lesions of one case, write its outputs and return what `--json` holds.

    All that can be refused is refused before the long work, and outputs appear only when all is done.
    Raises the errors of `lesionwise.errors`.
    """
    with output_folder(case.report) if case.report else nullcontext():
        scans = read_case(case, settings, progress)
        with progress.step("loading the network"):
            engine = Engine.start(settings, progress)
        prepared = prepare_case(scans, settings, engine.threads, progress, engine.device)
        return finish_case(case, prepared, settings, engine, progress)


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
    for name, as_read, on_grid, prepared in (
        (TIMES[0], scans.time1, study.time1, seen.time1),
        (TIMES[1], scans.time2, study.time2, seen.time2),
    ):
        yield from implausible_resolution(name, as_read.spacing_mm)
        yield from implausible_scan(name, on_grid.data, case.brain.data, on_grid.spacing_mm)
        yield from implausible_contrast(name, prepared, seen.brain)
    yield from implausible_brain(study.brain.data, study.brain.voxel_mm3)
    yield from implausible_pair(seen.time1, seen.time2, seen.brain, case.residual_mm)


def finish_case(
    case: Case, prepared: PreparedCase, settings: Settings, engine: Engine, progress: Progress
) -> dict[str, Any]:
    """Run the network over a prepared case, find the lesions, write the outputs; return as `segment_case`."""
    study, inside = prepared.study, prepared.inside
    probability, windows = predict(prepared.pair, inside, engine, progress)
    probability = study.to_output(in_order_of(probability, inside, prepared.brain))
    probability = np.where(searched(prepared), probability, np.float32(0))
    with progress.step("finding lesions"):
        mask = find_lesions(probability, study.output.spacing_mm, engine.operating_point)
        lesions = lesion_table(
            mask, probability, study.output.affine, study.output.spacing_mm, confidence=engine.confidence
        )

    places = None
    if case.report and lesions:
        with progress.step("placing lesions"):
            places = place_case(study, mask, engine.threads, progress)
    scans = prepared.scans
    report = describe_case(
        lesions,
        places,
        scans.pair,
        study,
        prepared.residual_mm,
        scans.sha256,
        settings,
        windows,
        engine,
        progress,
    )
    report["also_written"] = case.extras
    mask_file = content(mask_writer(case.output, mask, study.output))
    report["mask_sha256"] = hashlib.sha256(mask_file).hexdigest()
    page = None
    if case.report:
        with progress.step("drawing the report"):
            page = case_page(report, case_images(study, scans.pair, mask, probability))
    with progress.step("writing"):
        write_whole(writers(case, mask_file, probability, report, page, study.output), outdated_extras(case))
    progress.note(f"{len(lesions)} new lesions, {report['new_lesion_volume_mm3']:g} mm3")
    return report


def searched(prepared: PreparedCase) -> NDArray[np.bool_]:
    """Return where lesions are looked for, on the grid of the outputs: the brain, nothing outside a mask that was given."""
    study, pair = prepared.study, prepared.scans.pair
    if study.way_back is None:
        return np.asarray(prepared.brain.data)
    brain = study.to_output(prepared.brain.data.astype(np.float32)) > 0.5
    return brain & pair.brain.data if pair.brain and study.output is pair.time1 else brain


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
    return PreparedPair(first, second, inside, grid)


def predict(pair: PreparedPair, brain: Volume, engine: Engine, progress: Progress) -> tuple[Floats, Windows]:
    """Return the probability of new lesion on the grid of the brain mask, 0 outside the brain, and the windows it took.

    They are those that were asked for, or smaller ones for lack of memory.
    """
    windows = engine.windows
    with progress.step("running the network"):
        room = room_voxels(engine.device, engine.precision)
        probability, edge = predict_in_memory(
            engine.run, pair.time1, pair.time2, pair.brain, windows, room, progress.advance
        )
        if windows.edge is None and edge < max(pair.brain.shape):
            windows = replace(windows, edge=edge)
            progress.warn(f"memory is short: the network saw windows of {edge} mm instead of the whole brain")
    with progress.step("resampling"):
        probability = tempered(probability, engine.weights.temperature)
        return np.where(brain.data, pair.grid.to_scan(probability), np.float32(0)), windows


def writers(
    case: Case,
    mask_file: bytes,
    probability: Floats,
    report: Mapping[str, Any],
    page: str | None,
    like: Volume,
) -> dict[Path, Writer]:
    """Return what writes each output that was asked for."""
    outputs: dict[Path, Writer] = {case.output: lambda file: file.write(mask_file)}
    if case.probabilities:
        outputs[case.probabilities] = image_writer(case.probabilities, probability, like)
    for table in case.tables:
        outputs[table] = json_writer(report)
    if case.page and page is not None:
        outputs[case.page] = text_writer(page)
    return outputs
