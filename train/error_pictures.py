"""Pictures of what a network got wrong: a row for each missed and each false lesion, both times in three planes.

    python -m train.validate FOLDER ... --pictures DIR
    python -m train.synthetic_validation --network RUN --cases DIR --pictures DIR

Beside the picture of a case a table says where each lesion lies, to be looked at in a viewer and to be told of in words.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionwise.evaluation import evaluate_pair
from lesionwise.files import bytes_writer, text_writer, write_whole
from lesionwise.lesions import label_lesions
from lesionwise.report.pictures import PLANE_AXIS, largest_slices

FIELD_MM = 50.0
"""Width and height of what is shown around a lesion."""

TRUTH_COLOUR, FOUND_COLOUR = "#56b4e9", "#e69f00"
"""Sky blue and orange of the Okabe-Ito palette, which the colour-blind tell apart."""


@dataclass(frozen=True)
class WrongLesion:
    """A lesion that the evaluator counts as an error: of the truth and `missed`, or found and `false`."""

    kind: str
    volume_mm3: float
    slices: tuple[int, int, int]
    """The voxel index along each axis of the slice where it is largest."""
    place_mm: tuple[float, float, float]
    """Where these slices meet, in the scan's own space (right, anterior, superior)."""
    mean_probability: float


@dataclass(frozen=True)
class JudgedCase:
    """Both scans of a case, on one grid with the probability, what was found and the truth.

    Arrays are (x, y, z), axes nearest right, anterior, superior; `affine` (4, 4) takes voxel indices to mm.
    """

    time1: NDArray[np.float32]
    time2: NDArray[np.float32]
    probability: NDArray[np.float32]
    found: NDArray[np.bool_]
    truth: NDArray[np.bool_]
    affine: NDArray[np.float64]
    spacing_mm: tuple[float, float, float]

    def wrong_lesions(self) -> list[WrongLesion]:
        """Return the missed lesions, then the false ones, the largest first."""
        match = evaluate_pair(self.found, self.truth, self.spacing_mm, surfaces=False).lesions
        wrong = []
        for kind, mask, volumes_mm3, right in (
            ("missed", self.truth, match.truth_mm3, match.detected),
            ("false", self.found, match.predicted_mm3, match.confirmed),
        ):
            labels = label_lesions(mask, self.spacing_mm)
            for number in np.flatnonzero(~right):
                lesion = labels == number + 1
                slices = largest_slices(lesion)
                x, y, z = (float(mm) for mm in self.affine[:3] @ [*slices, 1])
                mean = float(self.probability[lesion].mean())
                wrong.append(WrongLesion(kind, float(volumes_mm3[number]), slices, (x, y, z), mean))
        return wrong


def write_error_pictures(case: JudgedCase, folder: Path, name: str) -> None:
    """Write `NAME_errors.png` and `NAME_errors.csv` into a folder; without an error the table alone, with no row."""
    wrong = case.wrong_lesions()
    folder.mkdir(parents=True, exist_ok=True)
    write_whole({folder / f"{name}_errors.csv": text_writer(_table(wrong))})
    if wrong:
        picture = _picture(case, wrong)
        write_whole({folder / f"{name}_errors.png": bytes_writer(picture)})


def _table(wrong: Sequence[WrongLesion]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["kind", "volume_mm3", "x_mm", "y_mm", "z_mm", "mean_probability"])
    for lesion in wrong:
        numbers = (lesion.volume_mm3, *lesion.place_mm)
        row = [f"{number:.1f}" for number in numbers]
        writer.writerow([lesion.kind, *row, f"{lesion.mean_probability:.3f}"])
    return text.getvalue()


def _picture(case: JudgedCase, wrong: Sequence[WrongLesion]) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 2.05 * len(wrong)), layout="constrained")
    grid = figure.subplots(len(wrong), 2 * len(PLANE_AXIS), squeeze=False)
    # Each scan by its own brightness: two scanners may tell in tens and in thousands.
    scans = [scan / np.percentile(scan[scan > 0], 99.5) for scan in (case.time1, case.time2)]
    for row, lesion in zip(grid, wrong, strict=True):
        for column, (plane, axis) in enumerate(PLANE_AXIS.items()):
            for time, scan in enumerate(scans):
                axes = row[2 * column + time]
                _draw(axes, case, scan, lesion, axis)
                axes.set_title(f"{plane}, time {time + 1}", fontsize=7)
        words = f"{lesion.kind}, {lesion.volume_mm3:.0f} mm3\n({', '.join(f'{mm:.0f}' for mm in lesion.place_mm)}) mm"
        row[0].set_ylabel(words, fontsize=7)
    figure.suptitle(
        "outlines: blue is the truth, orange what was found; the patient's right is on the left", fontsize=8
    )
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=80)
    return file.getvalue()


def _draw(axes: Any, case: JudgedCase, scan: NDArray[np.float32], lesion: WrongLesion, axis: int) -> None:
    across, down = (other for other in range(3) if other != axis)
    aspect = case.spacing_mm[down] / case.spacing_mm[across]
    window = [
        (centre - FIELD_MM / spacing / 2, centre + FIELD_MM / spacing / 2)
        for centre, spacing in zip(lesion.slices, case.spacing_mm, strict=True)
    ]
    axes.imshow(
        np.take(scan, lesion.slices[axis], axis).T, cmap="gray", vmin=0, vmax=1, origin="lower", aspect=aspect
    )
    for mask, colour in ((case.truth, TRUTH_COLOUR), (case.found, FOUND_COLOUR)):
        flat = np.take(mask, lesion.slices[axis], axis).T
        if flat.any():
            axes.contour(flat, [0.5], colors=colour, linewidths=0.8)
    # From right to left and from the nose: as radiologists look, and as the report shows it.
    axes.set(xlim=window[across][::-1], ylim=window[down], xticks=[], yticks=[])
