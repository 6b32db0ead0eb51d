"""The story of one case: files -> volumes -> preprocessing -> network -> lesions -> files."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionwise.case_description import describe_case, file_hashes
from lesionwise.engine import Engine, Settings
from lesionwise.errors import InputError, PreprocessingError
from lesionwise.files import Writer, check_outputs, write_whole
from lesionwise.inference import WINDOWS_AT_ONCE, predict_probabilities
from lesionwise.lesions import lesion_table, remove_small_lesions
from lesionwise.network_grid import NetworkGrid, network_grid
from lesionwise.preprocessing.brain_extraction import extract_brain, gate_brain_masks
from lesionwise.preprocessing.field_of_view import seen_by_both
from lesionwise.preprocessing.normalization import normalize
from lesionwise.preprocessing.recipe import Recipe, preprocess_pair
from lesionwise.progress import Progress
from lesionwise.volume import (
    Volume,
    check_nifti_name,
    check_same_grid,
    image_writer,
    in_order_of,
    mask_writer,
    read_mask,
    read_volume,
    to_orientation,
)

WORKING_ORDER = "LPS"
"""How axes run while images are computed with, so that the way a file is stored changes nothing.

Bias correction and denoising depend a little on the order of the voxels. In this order, the usual one of
scans converted from DICOM, they equal Anima's on the file as stored.
"""

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
    def inputs(self) -> dict[str, Path]:
        """The files that are read, by what they are."""
        files = {"time1": self.time1, "time2": self.time2, "brain_mask": self.brain_mask}
        return {name: path for name, path in files.items() if path}

    @property
    def outputs(self) -> list[Path]:
        """The files that are written."""
        return [path for path in (self.output, self.probabilities, self.table) if path]


@dataclass(frozen=True)
class PreparedPair:
    """What the network sees: both time points and the brain on its grid (right, anterior, superior)."""

    time1: Floats
    time2: Floats
    brain: NDArray[np.bool_]
    grid: NetworkGrid


@dataclass(frozen=True)
class Scans:
    """The inputs of a case as read, on the grid of time 1, and the brain mask if one was given."""

    time1: Volume
    time2: Volume
    brain: Volume | None
    sha256: Mapping[str, str]


@dataclass(frozen=True)
class PreparedCase:
    """A case ready for the network. `brain` lies in `WORKING_ORDER`, the scans as in their files."""

    scans: Scans
    brain: Volume
    brain_ml: float
    pair: PreparedPair


def segment_case(case: Case, settings: Settings, progress: Progress) -> dict[str, Any]:
    """Segment the new lesions of one case, write its outputs and return what `--json` holds.

    All that can be refused is refused before the long work, and outputs appear only when all is done.
    Raises the errors of `lesionwise.errors`.
    """
    scans = read_case(case, progress)
    with progress.step("loading the network"):
        engine = Engine.start(settings, progress)
    prepared = prepare_case(scans, settings.recipe, engine.threads, progress)
    return finish_case(case, prepared, settings, engine, progress)


def read_case(case: Case, progress: Progress) -> Scans:
    """Read and check the inputs, and check that the outputs can be written."""
    with progress.step("reading"):
        for path in (case.output, case.probabilities):
            if path:
                check_nifti_name(path)
        check_outputs(case.outputs, case.inputs.values())
        time1, time2 = read_volume(case.time1), read_volume(case.time2)
        check_same_grid(time1, time2)
        time2 = replace(time2, affine=time1.affine)  # equal but for rounding
        brain = None
        if case.brain_mask:
            brain = read_mask(case.brain_mask)
            check_same_grid(time1, brain)
            brain = replace(brain, affine=time1.affine)
            if not brain.data.any():
                raise InputError(
                    f"{case.brain_mask}: the brain mask is empty; give one that covers the brain"
                )
        note_oddities(time1, time2, progress)
        return Scans(time1, time2, brain, file_hashes(case.inputs))


def prepare_case(scans: Scans, recipe: Recipe, threads: int, progress: Progress) -> PreparedCase:
    """Find the brain and preprocess: all that comes before the network, on the CPU."""
    time1, time2 = scans.time1, scans.time2
    with progress.step("finding the brain"):
        brain = scans.brain or replace(time1, data=find_brain(time1, time2, threads))
        brain_ml = float(brain.data.sum()) * time1.voxel_mm3 / 1000
        brain = leave_out_unseen(time1, time2, brain, progress)
    first, second, inside = (to_orientation(volume, WORKING_ORDER) for volume in (time1, time2, brain))
    pair = prepare_pair(first, second, inside, recipe, threads, progress)
    return PreparedCase(scans, inside, brain_ml, pair)


def finish_case(
    case: Case, prepared: PreparedCase, settings: Settings, engine: Engine, progress: Progress
) -> dict[str, Any]:
    """Run the network over a prepared case, find the lesions, write the outputs; return as `segment_case`."""
    time1 = prepared.scans.time1
    probability = in_order_of(predict(prepared.pair, prepared.brain, engine, progress), prepared.brain, time1)
    with progress.step("finding lesions"):
        mask = remove_small_lesions(probability > engine.threshold, time1.spacing_mm)
        lesions = lesion_table(mask, probability, time1.affine, time1.spacing_mm)

    report = describe_case(lesions, prepared.brain_ml, prepared.scans.sha256, settings, engine, progress)
    with progress.step("writing"):
        write_whole(writers(case, mask, probability, report, time1))
    progress.note(f"{len(lesions)} new lesions, {report['new_lesion_volume_mm3']:g} mm3")
    return report


def find_brain(time1: Volume, time2: Volume, threads: int) -> NDArray[np.bool_]:
    """Return the union of the brain masks of both time points. Raises `PreprocessingError` at the gate."""
    mask1, mask2 = (extract_brain(volume.data, volume.affine, threads) for volume in (time1, time2))
    return gate_brain_masks(mask1, mask2, time1.voxel_mm3)


def leave_out_unseen(time1: Volume, time2: Volume, brain: Volume, progress: Progress) -> Volume:
    """Return the brain that both scans reached, with a warning where it is not all of it."""
    seen = seen_by_both(time1.data, time2.data, brain.data, time1.voxel_mm3)
    unseen_ml = float(brain.data.sum() - seen.sum()) * time1.voxel_mm3 / 1000
    if not seen.any():
        raise PreprocessingError(
            "inside the brain mask one of the scans is zero everywhere; check the scans and the mask"
        )
    if unseen_ml > 0:
        progress.warn(f"{unseen_ml:.1f} ml of the brain are not in both scans and were not searched")
    return replace(brain, data=seen)


def note_oddities(time1: Volume, time2: Volume, progress: Progress) -> None:
    """Warn of what can be computed but is seldom meant."""
    if not time1.states_orientation:
        progress.warn(
            "the header of time 1 does not say how the head lies; its axes are taken as right, anterior, superior"
        )
    if np.array_equal(time1.data, time2.data):
        progress.warn("time 1 and time 2 hold the same image; nothing can be new")


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
        probability = predict_probabilities(
            engine.run,
            pair.time1,
            pair.time2,
            pair.brain,
            stride=engine.stride,
            windows_at_once=WINDOWS_AT_ONCE[engine.device.type],
            on_progress=progress.advance,
        )
    with progress.step("resampling"):
        return np.where(brain.data, pair.grid.to_scan(probability), np.float32(0))


def writers(
    case: Case, mask: NDArray[np.bool_], probability: Floats, report: Mapping[str, Any], like: Volume
) -> dict[Path, Writer]:
    """Return what writes each output that was asked for."""
    outputs = {case.output: mask_writer(case.output, mask, like)}
    if case.probabilities:
        outputs[case.probabilities] = image_writer(case.probabilities, probability, like)
    if case.table:
        text = json.dumps(report, indent=2, allow_nan=False) + "\n"
        outputs[case.table] = partial(_write_text, text=text)
    return outputs


def _write_text(file: Any, text: str) -> None:
    file.write(text.encode())
