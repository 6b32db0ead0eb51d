"""What scanners do to scans, and how many of a pair's new lesions stay: `python -m benchmarks.scanner_trouble PATIENT`.

`PATIENT`: a folder in the challenge's layout with a brain mask `brain_mask_flair.nii.gz`. Both scans are troubled alike and
segmented as the program does by default. Compared, as Dice: the brain that it found with the folder's brain mask, and the
lesions with those of the clean scans, both brought to the troubled grid.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.bench_registration import centre_mm, motion_about
from lesionwise.case_files import Case
from lesionwise.challenge_layout import TIME1, TIME2
from lesionwise.common_space import resample
from lesionwise.engine import Engine, Settings
from lesionwise.errors import PreprocessingError
from lesionwise.pipeline import finish_case
from lesionwise.prepared_case import prepare_case, read_case
from lesionwise.progress import Lines, Progress
from lesionwise.volume import Volume, on_grid, read_mask, read_volume, write_image_like

Array = NDArray[np.floating[Any]]
BRAIN = "brain_mask_flair.nii.gz"
SMALLEST_BRAIN_DICE, SMALLEST_LESION_DICE = 0.93, 0.8


def noisy(data: Array, brain: NDArray[np.bool_], part: float = 0.05) -> Array:
    """Return the magnitude of the image with noise in both channels (Rician), as part of the brain's mean."""
    rng = np.random.default_rng(1)
    real, imaginary = rng.normal(0, part * data[brain].mean(), (2, *data.shape))
    return np.asarray(np.hypot(data + real, imaginary))


def shaded(data: Array, _brain: NDArray[np.bool_], ratio: float = 2.0) -> Array:
    """Return the image times a smooth field, `ratio` times as bright in one corner as in the opposite one."""
    x, y, z = (np.linspace(-1 / 6, 1 / 6, size) for size in data.shape)
    return data * ratio ** (x[:, None, None] + y[:, None] + z)


def negative_background(data: Array, brain: NDArray[np.bool_]) -> Array:
    """Return the image with all that is far darker than the brain set to the brain's mean below zero."""
    level = float(data[brain].mean())
    return np.where(data < 0.1 * level, -level, data)


INTENSITIES: dict[str, Callable[[Array, NDArray[np.bool_]], Array]] = {
    "Rician noise 5 %": noisy,
    "bias field x2": shaded,
    "intensities x 1e-3": lambda data, _: data * 1e-3,
    "intensities x 1e4": lambda data, _: data * 1e4,
    "negative background": negative_background,
    "skull stripped": lambda data, brain: np.where(brain, data, 0),
}


def padded(scan: Volume, _brain: Volume, voxels: tuple[int, int, int] = (40, 40, 40)) -> Volume:
    """Return a volume with zeros around it."""
    affine = scan.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ voxels
    return on_grid(np.pad(scan.data, [(n, n) for n in voxels]), affine, scan)


def pitched(scan: Volume, brain: Volume, degrees: float = 20.0) -> Volume:
    """Return a volume whose head nods in its grid, which has room for it."""
    room = padded(scan, brain, (0, 0, 14))
    motion = motion_about(centre_mm(brain), (degrees, 0, 0), (0, 0, 0))
    return replace(room, data=resample(scan.data, scan.affine, motion, room.data.shape, room.affine))


def without_neck(scan: Volume, brain: Volume) -> Volume:
    """Return a volume (third axis upward) that begins with the lowest slice of the brain."""
    lowest = int(np.flatnonzero(brain.data.any(axis=(0, 1)))[0])
    affine = scan.affine.copy()
    affine[:3, 3] += lowest * affine[:3, 2]
    return on_grid(scan.data[:, :, lowest:], affine, scan)


def thick(scan: Volume, _brain: Volume, slice_mm: float = 5.0) -> Volume:
    """Return a volume of thicker slices, blurred across them."""
    times = slice_mm / scan.spacing_mm[2]
    affine = scan.affine.copy()
    affine[:3, 2] *= times
    shape = (*scan.data.shape[:2], int((scan.data.shape[2] - 1) / times) + 1)
    blurred = ndimage.gaussian_filter1d(scan.data, 0.42 * times, axis=2)
    return on_grid(resample(blurred, scan.affine, np.eye(4), shape, affine), affine, scan)


def sheared(scan: Volume, _brain: Volume, degrees: float = 15.0) -> Volume:
    """Return a volume whose slices are tilted against their stack, as a gantry does."""
    affine = scan.affine.copy()
    affine[1, 2] += np.tan(np.radians(degrees)) * affine[2, 2]
    affine[:3, 2] *= scan.spacing_mm[2] / np.linalg.norm(affine[:3, 2])
    return on_grid(scan.data, affine, scan)


GEOMETRIES: dict[str, Callable[[Volume, Volume], Volume]] = {
    "20 degrees of pitch": pitched,
    "neck cropped": without_neck,
    "40 voxels of padding": padded,
    "slices of 5 mm": thick,
    "sheared affine": sheared,
}

TROUBLES = (*INTENSITIES, *GEOMETRIES)


def troubled(name: str, scan: Volume, brain: Volume) -> Volume:
    """Return a scan under one of the `TROUBLES`, float32; `brain` is its brain mask, on its grid."""
    if name in GEOMETRIES:
        return GEOMETRIES[name](scan, brain)
    return replace(scan, data=INTENSITIES[name](scan.data, brain.data).astype(np.float32))


def followed(name: str, mask: Volume, brain: Volume) -> Volume:
    """Bring a mask to the grid that `troubled` gives."""
    if name in INTENSITIES:
        return mask
    moved = GEOMETRIES[name](replace(mask, data=mask.data.astype(np.float32)), brain)
    return replace(moved, data=moved.data > 0.5)


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    return float(2 * (first & second).sum() / max(1, first.sum() + second.sum()))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("patient", type=Path)
    options.add_argument("--threads", type=int, default=1)
    arguments = options.parse_args()
    scans = [read_volume(arguments.patient / name) for name in (TIME1, TIME2)]
    brain = read_mask(arguments.patient / BRAIN)
    settings, progress = Settings(threads=arguments.threads), Progress(Lines())
    engine = Engine.start(settings, progress)
    _, clean = found_in(scans, settings, engine)
    print("| trouble | brain | lesions | both stay | CPU s |", flush=True)
    print("|---|---|---|---|---|", flush=True)
    for name in TROUBLES:
        start = time.process_time()
        try:
            found = found_in([troubled(name, scan, brain) for scan in scans], settings, engine)
            dices = [
                dice(mask.data, followed(name, truth, brain).data)
                for mask, truth in zip(found, (brain, clean), strict=True)
            ]
            stay = dices[0] >= SMALLEST_BRAIN_DICE and dices[1] >= SMALLEST_LESION_DICE
            told = f"{dices[0]:.3f} | {dices[1]:.3f} | {'yes' if stay else 'no'}"
        except PreprocessingError as error:
            told = (
                f"| | exit code {error.exit_code}, {str(error).partition(': ')[2]}"  # without the file's name
            )
        print(f"| {name} | {told} | {time.process_time() - start:.0f} |", flush=True)


def found_in(scans: list[Volume], settings: Settings, engine: Engine) -> tuple[Volume, Volume]:
    """Return the brain and the new lesions that the whole program finds in two scans."""
    with tempfile.TemporaryDirectory() as name:
        case = Case(*(Path(name) / file for file in (TIME1, TIME2, "lesions.nii.gz")))
        for path, scan in zip((case.time1, case.time2), scans, strict=True):
            write_image_like(path, scan.data, scan)
        progress = Progress(Lines())
        prepared = prepare_case(read_case(case, settings, progress), settings, engine.threads, progress)
        finish_case(case, prepared, settings, engine, progress)
        return prepared.study.brain, read_mask(case.output)


if __name__ == "__main__":
    main()
