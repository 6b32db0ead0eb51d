"""The story of `lesionwise preprocess`: two scans in, the images that a network would be given and the brain mask out."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lesionwise import __version__
from lesionwise.case_description import file_sha256
from lesionwise.case_files import earlier_report
from lesionwise.challenge_layout import BRAIN_MASK, TIME1, TIME2, TRUTHS
from lesionwise.errors import InputError, UsageError
from lesionwise.files import (
    Writer,
    bytes_writer,
    check_outputs,
    content,
    json_writer,
    output_folder,
    unchanged,
    write_whole,
)
from lesionwise.preprocessing.brain_routes import DEFAULT_EXTRACTION
from lesionwise.preprocessing.recipe import CPU, DEFAULT_RECIPE, RECIPES, Recipe, preprocess_pair
from lesionwise.progress import Progress
from lesionwise.scan_pair import WORKING_ORDER, note_oddities, prepare_study, read_pair
from lesionwise.versions import installed_versions
from lesionwise.volume import image_writer, in_order_of, mask_writer, read_template, to_orientation

REPORT = "preprocessing.json"
"""What was done, in the folder of each patient."""


@dataclass(frozen=True)
class PreprocessCase:
    """The files of one case: two scans in, a folder out; in it the challenge's names and `REPORT`.

    `template`: with histogram matching, both images are brought to this one instead of time 2 to time 1.
    `copied`: files that are copied into the folder as they are (the experts' masks, on the grid of the scans).
    """

    time1: Path
    time2: Path
    folder: Path
    brain_mask: Path | None = None
    template: Path | None = None
    copied: tuple[Path, ...] = ()

    @property
    def inputs(self) -> list[Path]:
        """The files that are read."""
        given = (self.time1, self.time2, self.brain_mask, self.template, *self.copied)
        return [path for path in given if path]

    @property
    def outputs(self) -> list[Path]:
        """The files that are written."""
        names = (BRAIN_MASK, TIME1, TIME2, REPORT, *(path.name for path in self.copied))
        return [self.folder / name for name in names]


@dataclass(frozen=True)
class Options:
    """How cases are preprocessed. `register`: bring the scans to the half-way space, where outputs then lie.

    `device`: where denoising runs.
    """

    recipe: Recipe = RECIPES[DEFAULT_RECIPE]
    register: bool = False
    brain_extraction: str = DEFAULT_EXTRACTION
    threads: int = 1
    device: torch.device = CPU


def check_replaceable(cases: Iterable[PreprocessCase]) -> None:
    """Raise `UsageError` where a case's folder holds scans, masks or truths that no earlier run has written.

    They have the names of what would be written, and may be another cohort's raw scans.
    """
    for case in cases:
        names = (TIME1, TIME2, BRAIN_MASK, *TRUTHS)
        there = [path for name in names if os.path.lexists(path := case.folder / name)]
        if there and not (case.folder / REPORT).is_file():
            raise UsageError(
                f"{there[0]}: no earlier preprocess wrote this file (there is no {REPORT} beside it);"
                " name another folder to write into"
            )


def preprocess_case(case: PreprocessCase, options: Options, progress: Progress) -> dict[str, Any]:
    """Preprocess one case, write its outputs into its folder and return what the report holds.

    The images are float32 on the grid of the scans, with the header geometry of each, or on the
    half-way grid. The folder is made where it is missing. Raises the errors of `lesionwise.errors`, also where the
    brain mask or a truth of an earlier run was corrected since.
    """
    with output_folder(case.folder):
        check_outputs(case.outputs, case.inputs)
        _refuse_corrected(case)
        return _preprocess(case, options, progress)


def _preprocess(case: PreprocessCase, options: Options, progress: Progress) -> dict[str, Any]:
    with progress.step("reading"):
        with unchanged(case.inputs):
            pair = read_pair(case.time1, case.time2, case.brain_mask, one_grid=not options.register)
            template = read_template(case.template).data if case.template else None
            copies = {path.name: path.read_bytes() for path in case.copied}
        note_oddities(pair.time1, pair.time2, progress)
    output_grid = "halfway" if options.register else None
    study = prepare_study(pair, output_grid, options.brain_extraction, options.threads, progress)

    first, second, inside = (
        to_orientation(v, WORKING_ORDER) for v in (study.time1, study.time2, study.brain)
    )
    with progress.steps() as on_step:
        images = preprocess_pair(
            first.data,
            second.data,
            inside.data,
            options.recipe,
            options.threads,
            on_step,
            template,
            options.device,
        )
    masks = {
        BRAIN_MASK: content(mask_writer(case.folder / BRAIN_MASK, study.brain.data, study.time1)),
        **copies,
    }
    report = {
        "lesionwise": __version__,
        "preprocessing": list(options.recipe.steps),
        **study.as_json(),
        "brain_volume_ml": round(float(study.brain.data.sum()) * study.brain.voxel_mm3 / 1000, 1),
        "masks_sha256": {name: hashlib.sha256(whole).hexdigest() for name, whole in masks.items()},
        "warnings": progress.warnings,
        "threads": options.threads,
        "device": options.device.type,
        "versions": installed_versions(),
        "seconds": progress.seconds,
    }
    with progress.step("writing"):
        # The report first: it is never missing beside the others, even if this process is killed, so that the next
        # start knows them as its own.
        writers: dict[Path, Writer] = {case.folder / REPORT: json_writer(report)}
        for name, image, scan in ((TIME1, images[0], study.time1), (TIME2, images[1], study.time2)):
            path = case.folder / name
            writers[path] = image_writer(path, in_order_of(image, inside, scan), scan)
        for name, whole in masks.items():
            writers[case.folder / name] = bytes_writer(whole)
        _refuse_corrected(case)  # again: it took minutes
        write_whole(writers, _outdated_copies(case))
    return report


def _refuse_corrected(case: PreprocessCase) -> None:
    """Raise `InputError` where a mask or truth that would be replaced or removed is not the one that its report tells of."""
    told = _masks_told(case)
    replaced = [case.folder / name for name in (BRAIN_MASK, *(path.name for path in case.copied))]
    for path in [*replaced, *_outdated_copies(case)]:
        if path.is_file() and file_sha256(path) != told.get(path.name):
            raise InputError(
                f"{path}: this is not the file that an earlier preprocess wrote (corrected by hand?); move it elsewhere. A "
                "corrected brain mask on the grid of time 1 is used with -t1, -t2 and --brain-mask"
            )


def _outdated_copies(case: PreprocessCase) -> list[Path]:
    """Return the truths that an earlier run has copied and this one does not: they lie on the grid of its images."""
    current = [path.name for path in case.copied]
    told = _masks_told(case)
    return [case.folder / name for name in TRUTHS if name in told and name not in current]


def _masks_told(case: PreprocessCase) -> dict[str, str]:
    """Return the sha256 of the masks and truths that the report of an earlier run tells of, by their names."""
    told = (earlier_report(case.folder / REPORT) or {}).get("masks_sha256")
    return told if isinstance(told, dict) else {}
