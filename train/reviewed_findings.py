"""Findings that are plainly new to the eye and in no published mask: scores with and without counting them as false.

Published masks of new lesions are incomplete. A table of findings that were looked at, both scans side by side
(`train.validate --pictures`), names each by its place; the bars are on the published reference all the same.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lesionwise.errors import InputError
from lesionwise.evaluation import evaluate_pair
from lesionwise.lesions import label_lesions

REACH_MM = 3.0
"""A lesion that comes this near to the place of a finding is that finding."""

COLUMNS = ("patient", "x_mm", "y_mm", "z_mm", "finding")


@dataclass(frozen=True)
class Finding:
    """What was found where: `place_mm` in the scan's own space (right, anterior, superior), `words` what is seen."""

    patient: str
    place_mm: tuple[float, float, float]
    words: str


def read_findings(file: Path) -> list[Finding]:
    """Read a table of findings.

    Raises:
        InputError: it cannot be read, or is no such table.
    """
    try:
        with file.open(newline="") as lines:
            rows = list(csv.DictReader(lines))
        return [
            Finding(
                row["patient"], (float(row["x_mm"]), float(row["y_mm"]), float(row["z_mm"])), row["finding"]
            )
            for row in rows
        ]
    except (OSError, KeyError, TypeError, ValueError, UnicodeDecodeError) as error:
        raise InputError(
            f"{file}: no table of findings ({error}); it needs the columns {', '.join(COLUMNS)}"
        ) from error


def without_reviewed(
    found: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    affine: NDArray[np.float64],
    spacing_mm: tuple[float, float, float],
    findings: list[Finding],
) -> NDArray[np.bool_]:
    """Return what was found (x, y, z) without the lesions that the evaluator counts as false but that are `findings`."""
    confirmed = evaluate_pair(found, truth, spacing_mm, surfaces=False).lesions.confirmed
    labels = label_lesions(found, spacing_mm)
    left = found.copy()
    for finding in findings:
        voxel = np.rint(np.linalg.solve(affine, [*finding.place_mm, 1.0]))[:3].astype(int)
        for number, box in enumerate(ndimage.find_objects(labels)):
            place = np.argwhere(labels[box] == number + 1) + [axis.start for axis in box]
            distance_mm = np.linalg.norm((place - voxel) * spacing_mm, axis=1).min()
            if distance_mm <= REACH_MM and not (len(confirmed) and confirmed[number]):
                left[labels == number + 1] = False
    return left
