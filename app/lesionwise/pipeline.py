"""The story of one case: files -> volumes -> preprocessing -> network -> lesions -> files."""

import hashlib
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from lesionwise.calibration import tempered
from lesionwise.case_description import describe_case
from lesionwise.case_files import Case, outdated_extras
from lesionwise.engine import Engine, Settings
from lesionwise.files import (
    Writer,
    bytes_writer,
    content,
    json_writer,
    output_folder,
    text_writer,
    write_whole,
)
from lesionwise.inference import Windows, predict_in_memory
from lesionwise.lesions import find_lesions, lesion_table, log_odds
from lesionwise.memory import room_voxels
from lesionwise.prepared_case import PreparedCase, PreparedPair, prepare_case, read_case
from lesionwise.progress import Progress
from lesionwise.report.case_images import case_images
from lesionwise.report.page import case_page
from lesionwise.report.template_maps import place_case
from lesionwise.volume import Volume, image_writer, in_order_of, mask_writer

Floats = NDArray[np.float32]


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


def finish_case(
    case: Case,
    prepared: PreparedCase,
    settings: Settings,
    engine: Engine,
    progress: Progress,
    before_writing: Callable[[Case], object] = lambda _: None,
) -> dict[str, Any]:
    """Run the network over a prepared case, find the lesions, write the outputs; return as `segment_case`.

    `before_writing` is called when all is computed; what it raises goes through, and nothing is written.
    """
    study, inside = prepared.study, prepared.inside
    probability, windows = predict(prepared.pair, inside, engine, progress)
    probability = to_output(in_order_of(probability, inside, prepared.brain), prepared)
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
        before_writing(case)
        write_whole(writers(case, mask_file, probability, report, page, study.output), outdated_extras(case))
    progress.note(f"{len(lesions)} new lesions, {report['new_lesion_volume_mm3']:g} mm3")
    return report


def to_output(probability: Floats, prepared: PreparedCase) -> Floats:
    """Bring a map, 0 outside the brain, to the grid of the outputs; there, too, it is 0 outside, and outside a given mask."""
    study, pair = prepared.study, prepared.scans.pair
    if study.way_back is None:
        return probability
    brain = study.mask_to_output(prepared.brain.data)
    if pair.brain and study.output is pair.time1:
        brain &= pair.brain.data
    return np.where(brain, carried(probability, study.to_output), np.float32(0))


def carried(probability: Floats, to_grid: Callable[[Floats], Floats]) -> Floats:
    """Return a map as `to_grid` interpolates its log odds; what lies outside is next to 0.

    The mean of 0.999999 and 0.1 is 0.55, that of their log odds 0.997: on a grid that lies between the voxels every border
    would make a lesion doubtful, and which lesions are sure enough would depend on the grid.
    """
    lowest = log_odds(np.zeros((), np.float32))
    return np.asarray(expit(to_grid(log_odds(probability) - lowest) + lowest), dtype=np.float32)


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
        return np.where(brain.data, carried(probability, pair.grid.to_scan), np.float32(0)), windows


def writers(
    case: Case,
    mask_file: bytes,
    probability: Floats,
    report: Mapping[str, Any],
    page: str | None,
    like: Volume,
) -> dict[Path, Writer]:
    """Return what writes each output that was asked for.

    The table is first, and so gets its name while the others have none: a process that is killed between leaves no
    mask that no table tells of.
    """
    outputs: dict[Path, Writer] = {table: json_writer(report) for table in case.tables}
    outputs[case.output] = bytes_writer(mask_file)
    if case.probabilities:
        outputs[case.probabilities] = image_writer(case.probabilities, probability, like)
    if case.page and page is not None:
        outputs[case.page] = text_writer(page)
    return outputs
