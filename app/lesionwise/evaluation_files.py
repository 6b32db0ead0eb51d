"""Masks in files, read as animaSegPerfAnalyzer reads them, and pairs refused where that would garble them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from lesionwise.errors import InputError
from lesionwise.evaluation import DEFAULT_THRESHOLDS, Scores, evaluate_pair
from lesionwise.overlap import Thresholds
from lesionwise.volume import Volume, check_same_grid, read_image

LARGEST_LABEL = 65535
"""Masks are read as unsigned 16-bit numbers."""

SPACING_TOLERANCE_MM = 1e-4

Notify = Callable[[str], None]
"""Takes a line that the user should see."""


def _silent(_line: str) -> None:
    """Take a line and show it to nobody."""


def evaluate_files(
    prediction: Path, truth: Path, thresholds: Thresholds = DEFAULT_THRESHOLDS, notify: Notify = _silent
) -> Scores:
    """Measure the mask in one file against that in another. Raises as `read_pair`."""
    predicted, true = read_pair(prediction, truth, notify)
    return evaluate_pair(predicted.data, true.data, true.spacing_mm, thresholds)


def read_pair(prediction: Path, truth: Path, notify: Notify = _silent) -> tuple[Volume, Volume]:
    """Read two masks on one grid.

    Raises `InputError` for files that are no mask and where shape, voxel size, origin or direction differ.
    """
    predicted, true = read_evaluated_mask(prediction, notify), read_evaluated_mask(truth, notify)
    check_same_grid(predicted, true)
    if not np.allclose(predicted.spacing_mm, true.spacing_mm, rtol=0, atol=SPACING_TOLERANCE_MM):
        raise InputError(f"{prediction} and {truth}: the voxel sizes differ; bring them on one grid first")
    return predicted, true


def read_evaluated_mask(path: Path, notify: Notify = _silent) -> Volume:
    """Read a mask (x, y, z): bool, True above its lowest value.

    Fractions are cut off towards zero, and a mask of one value only counts as empty: so the tool. `notify`
    is told of fractions, of one value that is not 0, and of several labels, which are evaluated as one.
    Raises `InputError` for what is no 3D image of finite numbers between 0 and 65535.
    """
    stored = read_image(path)
    whole = np.trunc(stored.data)
    lowest, highest = float(whole.min()), float(whole.max())
    if lowest < 0 or highest > LARGEST_LABEL:
        raise InputError(
            f"{path}: a mask holds numbers from 0 to {LARGEST_LABEL}, this has {lowest:g} to {highest:g};"
            " threshold it first"
        )
    if np.any(whole != stored.data):
        notify(f"{path}: fractions are cut off towards zero; threshold a map of probabilities first")
    if lowest == highest != 0:
        notify(f"{path}: every voxel is {lowest:g}; a mask of one value counts as empty")
    foreground = whole > lowest
    if np.any(whole[foreground] != highest):
        notify(f"{path}: several labels, all above {lowest:g} count as lesion")
    return Volume(foreground, stored.affine, stored.header, stored.name)
