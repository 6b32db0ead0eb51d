"""Two scans of one patient and the brain in them: how every command that takes a pair begins."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lesionwise.errors import InputError, PreprocessingError
from lesionwise.preprocessing.brain_extraction import extract_brain, gate_brain_masks
from lesionwise.preprocessing.field_of_view import seen_by_both
from lesionwise.progress import Progress
from lesionwise.volume import Volume, check_same_grid, read_mask, read_volume

WORKING_ORDER = "LPS"
"""How axes run while images are computed with, so that the way a file is stored changes nothing.

Bias correction and denoising depend a little on the order of the voxels. In this order, the usual one of
scans converted from DICOM, they equal Anima's on the file as stored.
"""


@dataclass(frozen=True)
class ScanPair:
    """Both time points and, where the user gave one, the brain mask; all on one grid, affines equal to the bit."""

    time1: Volume
    time2: Volume
    brain: Volume | None = None


def read_pair(time1: Path, time2: Path, brain_mask: Path | None = None) -> ScanPair:
    """Read two scans and perhaps a brain mask. Raises `InputError` for what is unsound or on another grid."""
    first, second = read_volume(time1), read_volume(time2)
    check_same_grid(first, second)
    second = replace(second, affine=first.affine)  # equal but for rounding
    if brain_mask is None:
        return ScanPair(first, second)
    brain = read_mask(brain_mask)
    check_same_grid(first, brain)
    if not brain.data.any():
        raise InputError(f"{brain_mask}: the brain mask is empty; give one that covers the brain")
    return ScanPair(first, second, replace(brain, affine=first.affine))


def note_oddities(time1: Volume, time2: Volume, progress: Progress) -> None:
    """Warn of what can be computed but is seldom meant."""
    if not time1.states_orientation:
        progress.warn(
            "the header of time 1 does not say how the head lies; its axes are taken as right, anterior, superior"
        )
    if np.array_equal(time1.data, time2.data):
        progress.warn("time 1 and time 2 hold the same image; nothing can be new")


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
