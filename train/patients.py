"""Patients in the challenge's layout as training material: preprocessed as for inference, kept in a cache."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from scipy import ndimage

from lesionwise.challenge_layout import GROUND_TRUTH, TIME1, TIME2
from lesionwise.errors import InputError
from lesionwise.prepared_case import prepare_pair
from lesionwise.preprocessing.recipe import DEFAULT_RECIPE, RECIPES
from lesionwise.progress import Lines, Progress
from lesionwise.scan_pair import WORKING_ORDER, find_brain, leave_out_unseen, read_pair
from lesionwise.simulation.timepoints import SyntheticPair
from lesionwise.volume import check_same_grid, read_mask, to_orientation
from lesionwise.working_resolution import at_working_resolution, join_voxels
from train.array_files import made_from, store, stored
from train.commandline import about_one
from train.patches import SyntheticPatches

FOLDS = 5
"""Every fifth patient is held out of training."""

BRIGHT = 1.4
"""The challenge marks no old lesions. Voxels of time 1 this much above the commonest intensity, inside the brain, stand in."""
INSIDE_VOXELS = 4

ADVICE = "check the scans, or take this patient out of the folder"
"""Where no brain is found: training has no option for brain masks."""

PREPARATION = 3
"""Of what the cache keeps: one more where `prepare` makes something else of the same files."""


def find_patients(data: Path) -> list[Path]:
    """Return the folders of `data` with both scans and the truth, sorted by name.

    Raises:
        InputError: there is none, or no such folder.
    """
    if not data.is_dir():
        raise InputError(f"{data}: there is no such folder; name the challenge's training folder")
    files = (TIME1, TIME2, GROUND_TRUTH)
    folders = sorted(f for f in data.iterdir() if all((f / file).is_file() for file in files))
    if not folders:
        raise InputError(
            f"{data}: no folder in it holds {', '.join(files)}; name the challenge's training folder"
        )
    return folders


def training_and_held_out(patients: Sequence[Path], fold: int) -> tuple[list[Path], list[Path]]:
    """Return the patients to train with and every fifth, beginning with number `fold`, which is held out.

    Raises:
        InputError: there is none of the one or of the other.
    """
    held_out = [patient for k, patient in enumerate(patients) if k % FOLDS == fold % FOLDS]
    training = [patient for patient in patients if patient not in held_out]
    if not training or not held_out:
        raise InputError(
            f"--fold {fold} of {len(patients)} patients leaves {len(training)} to train with and holds out "
            f"{len(held_out)}; give two patients or more, and a fold below their number"
        )
    return training, held_out


def prepare(
    patient: Path, threads: int = 1, truth_file: str = GROUND_TRUTH, brain_file: str | None = None
) -> SyntheticPair:
    """Return a patient as the network sees a case: brain, N4, NLMeans, normalised, on the network's 1 mm grid.

    By the functions of `lesionwise.prepared_case`; fine scans are joined first, as there. The truth is brought to the grid
    linearly and cut at a half. `old_lesions` are bright spots of time 1 (see BRIGHT): places where to draw patches, not a
    reference. `brain_file` names a brain mask of the patient's folder that is used instead of looking for the brain.

    Raises:
        InputError, PreprocessingError: as for inference.
    """
    read = read_pair(patient / TIME1, patient / TIME2, patient / brain_file if brain_file else None)
    truth = read_mask(patient / truth_file)
    check_same_grid(read.time1, truth)
    scans, new = at_working_resolution(read), join_voxels(replace(truth, data=truth.data.astype(np.float32)))
    time1, time2 = scans.time1, scans.time2
    progress = Progress(Lines())  # it takes minutes, and its warnings are to be seen
    brain = scans.brain
    if brain is None:
        with progress.step("finding the brain"):
            brain = replace(time1, data=find_brain(time1, time2, threads, warn=progress.warn)[0])
    seen = leave_out_unseen(time1, time2, brain, progress)
    first, second, inside, new = (to_orientation(v, WORKING_ORDER) for v in (time1, time2, seen, new))
    pair = prepare_pair(first, second, inside, RECIPES[DEFAULT_RECIPE], threads, progress)
    new_lesions = (pair.grid.to_network(new.data) > 0.5) & pair.brain
    deep = ndimage.binary_erosion(pair.brain, iterations=INSIDE_VOXELS)
    bright = ndimage.binary_opening((pair.time1 > BRIGHT) & deep)
    return SyntheticPair(pair.time1, pair.time2, pair.brain, new_lesions, bright)


def cached(
    patient: Path,
    cache: Path,
    threads: int = 1,
    truth_file: str = GROUND_TRUTH,
    brain_file: str | None = None,
) -> Path:
    """Return the file that keeps a patient as `prepare` makes it, made now if the files or the recipe are new."""
    files = (TIME1, TIME2, truth_file, *((brain_file,) if brain_file else ()))
    key = made_from(patient, files, PREPARATION, asdict(RECIPES[DEFAULT_RECIPE]))
    file = cache / f"{patient.name}-{key}.npz"
    if not file.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        click.echo(f"preparing {patient.name}", err=True)
        with about_one(patient.name, ADVICE):
            store(file, prepare(patient, threads, truth_file, brain_file))
    return file


def load(file: Path) -> SyntheticPair:
    """Return what `cached` keeps."""
    return SyntheticPair(**stored(file))


class PatientPatches(SyntheticPatches):
    """Endless batches of patches from prepared patients, with synthetic pairs among them if asked.

    Shares of patches around new lesions, old ones and anywhere as in `PatchSettings`.
    """

    def __init__(
        self, *args: Any, patients: Sequence[Path], synthetic_share: float = 0.0, **settings: Any
    ) -> None:
        """Take `patients`, files from `cached`; the rest as `SyntheticPatches`."""
        super().__init__(*args, **settings)
        self.patients, self.synthetic_share = list(patients), synthetic_share

    def _pair(self, rng: np.random.Generator) -> SyntheticPair:
        if rng.random() < self.synthetic_share:
            return super()._pair(rng)
        return load(self.patients[int(rng.integers(len(self.patients)))])
