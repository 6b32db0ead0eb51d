"""Two scans of one patient and the brain in them: how every command that takes a pair begins."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionwise.common_space import HalfwaySpace, halfway_space, inverse, resample
from lesionwise.errors import TIMES, InputError, PreprocessingError, about
from lesionwise.preprocessing.brain_extraction import gate_brain_masks, not_a_brain
from lesionwise.preprocessing.brain_routes import DEFAULT_EXTRACTION, Extractor, by_first_route
from lesionwise.preprocessing.field_of_view import reached, seen_by_both
from lesionwise.preprocessing.registration import Registration, register
from lesionwise.progress import Progress
from lesionwise.volume import Volume, check_same_grid, in_order_of, read_mask, read_volume, to_orientation

WORKING_ORDER = "LPS"
"""How axes run while images are computed with, so that the way a file is stored changes nothing.

Bias correction, denoising and what lays heads over each other (registration, the atlas) depend a little on the order of
the voxels. In this order, the usual one of scans converted from DICOM, the first two equal Anima's on the file as stored.
"""

REGISTER_ADVICE = "add --register, or bring them on one grid with another tool"

DEFAULT_OUTPUT_GRID = "time2"
"""Where outputs lie after a registration; "time1" and "halfway" may be asked for."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class ScanPair:
    """Both time points and, where the user gave one, the brain mask on the grid of time 1."""

    time1: Volume
    time2: Volume
    brain: Volume | None = None

    def as_json(self) -> dict[str, Any]:
        """Return what a report holds of the scans as they were read."""
        return {
            "scans": {
                name: {
                    "size_voxels": list(scan.data.shape),
                    "voxel_mm": [round(mm, 3) for mm in scan.spacing_mm],
                }
                for name, scan in (("time1", self.time1), ("time2", self.time2))
            }
        }


@dataclass(frozen=True)
class Study:
    """Both time points and the brain on one grid, affines equal to the bit, and where outputs lie.

    `output`: the volume whose geometry outputs take. `brain_extraction`: how the brain was found.
    """

    time1: Volume
    time2: Volume
    brain: Volume
    output: Volume
    brain_extraction: str
    registration: Registration | None = None
    way_back: Callable[[Floats], Floats] | None = None

    def to_output(self, array: Floats) -> Floats:
        """Bring an array on the common grid to the grid of `output`."""
        return self.way_back(array) if self.way_back else array

    def mask_to_output(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Bring a mask on the common grid to the grid of `output`: what lies in it by more than half."""
        return self.to_output(mask.astype(np.float32)) > 0.5 if self.way_back else mask

    def as_json(self) -> dict[str, Any]:
        """Return what a report holds of the way to the common grid."""
        found: dict[str, Any] = {"brain_extraction": self.brain_extraction}
        return found | ({"registration": self.registration.as_json()} if self.registration else {})


def read_pair(time1: Path, time2: Path, brain_mask: Path | None = None, one_grid: bool = True) -> ScanPair:
    """Read two scans and perhaps a brain mask on the grid of time 1.

    Raises `InputError` for what is unsound or, if `one_grid`, where the scans do not share a grid.
    """
    first, second = read_volume(time1), read_volume(time2)
    if one_grid:
        check_same_grid(first, second, REGISTER_ADVICE)
        second = replace(second, affine=first.affine)  # equal but for rounding
    if brain_mask is None:
        return ScanPair(first, second)
    brain = read_mask(brain_mask, one_value=True)
    check_same_grid(first, brain)
    if not brain.data.any():
        raise InputError(f"{brain_mask}: the brain mask is empty; give one that covers the brain")
    return ScanPair(first, second, replace(brain, affine=first.affine))


def prepare_study(
    pair: ScanPair, output_grid: str | None, extraction: str, threads: int, progress: Progress
) -> Study:
    """Find the brain and bring both scans on one grid.

    `output_grid` None: they are on one already, and outputs lie on it; else they are registered, and it is "time1",
    "halfway" or "time2". `extraction`: one of `EXTRACTIONS`, unless the pair has a brain mask.
    Raises `PreprocessingError` where brain extraction or registration fail their gates.
    """
    if output_grid is None:
        with progress.step("finding the brain"):
            if pair.brain:
                brain, route = pair.brain, "given"
            else:
                found, route = find_brain(pair.time1, pair.time2, threads, extraction, progress.warn)
                brain = replace(pair.time1, data=found)
        return Study(pair.time1, pair.time2, brain, pair.time1, route)

    with progress.step("registering"):
        fixed, moving = (to_orientation(scan, WORKING_ORDER) for scan in (pair.time1, pair.time2))
        registration = register(fixed, moving, threads)
    with progress.step("finding the brain"):
        if pair.brain:
            (space, brain), route = _given_halfway(pair, pair.brain, registration), "given"
        else:
            (space, brain), route = by_first_route(
                extraction,
                lambda extract: _found_halfway(pair, registration, extract, threads),
                progress.warn,
            )
    with progress.step("resampling"):
        time1, time2 = space.scan(pair.time1, space.to_time1), space.scan(pair.time2, space.to_time2)
    if output_grid == "halfway":
        return Study(time1, time2, brain, brain, route, registration)
    output, to_scan = (pair.time1, space.to_time1) if output_grid == "time1" else (pair.time2, space.to_time2)
    return Study(
        time1, time2, brain, output, route, registration, lambda array: space.back(array, output, to_scan)
    )


def find_brain(
    time1: Volume,
    time2: Volume,
    threads: int,
    extraction: str = DEFAULT_EXTRACTION,
    warn: Callable[[str], None] = lambda _line: None,
) -> tuple[NDArray[np.bool_], str]:
    """Return the union of the brain masks of two scans on one grid, and the route by which it was found.

    Raises `PreprocessingError` where no route passes the gate.
    """

    def attempt(extract: Extractor) -> NDArray[np.bool_]:
        mask1, mask2 = _extract_both(time1, time2, extract, threads)
        return gate_brain_masks(mask1, mask2, time1.voxel_mm3)

    return by_first_route(extraction, attempt, warn)


def _extract_both(
    time1: Volume, time2: Volume, extract: Extractor, threads: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the brain mask of each scan on its own grid, as it is stored."""
    masks = []
    for name, scan in zip(TIMES, (time1, time2), strict=True):
        turned = to_orientation(scan, WORKING_ORDER)
        with about(name):
            mask = extract(turned.data, turned.affine, threads)
        masks.append(in_order_of(mask, turned, scan))
    return masks[0], masks[1]


def _found_halfway(
    pair: ScanPair, registration: Registration, extract: Extractor, threads: int
) -> tuple[HalfwaySpace, Volume]:
    """Find the brain in each scan as it is, and bring both masks to the half-way space."""
    mask1, mask2 = _extract_both(pair.time1, pair.time2, extract, threads)
    brain1, brain2 = replace(pair.time1, data=mask1), replace(pair.time2, data=mask2)
    for name, brain in zip(TIMES, (brain1, brain2), strict=True):
        if not brain.data.any():  # around which no grid could be laid
            raise not_a_brain(f"the brain mask of {name} is empty")
    space = halfway_space(brain1, brain2, registration.matrix)
    first, second = space.mask(brain1, space.to_time1), space.mask(brain2, space.to_time2)
    return space, replace(first, data=gate_brain_masks(first.data, second.data, first.voxel_mm3))


def _given_halfway(pair: ScanPair, brain: Volume, registration: Registration) -> tuple[HalfwaySpace, Volume]:
    """Bring the brain mask of time 1 to the half-way space, on a grid that suits both scans."""
    moved = resample(
        brain.data.astype(np.float32),
        brain.affine,
        inverse(registration.matrix),
        pair.time2.data.shape,
        pair.time2.affine,
    )
    if moved.max() <= 0.5:
        raise PreprocessingError("after the registration the brain mask lies outside time 2; check the mask")
    space = halfway_space(brain, replace(pair.time2, data=moved > 0.5), registration.matrix)
    return space, space.mask(brain, space.to_time1)


def note_oddities(time1: Volume, time2: Volume, progress: Progress) -> None:
    """Warn of what can be computed but is seldom meant."""
    for name, scan in zip(TIMES, (time1, time2), strict=True):
        if not scan.states_orientation:
            progress.warn(
                f"the header of {name} does not say how the head lies; its axes are taken as right, anterior, superior"
            )
    if np.array_equal(time1.data, time2.data):
        progress.warn("time 1 and time 2 hold the same image; nothing can be new")


def leave_out_unseen(time1: Volume, time2: Volume, brain: Volume, progress: Progress) -> Volume:
    """Return the brain that both scans reached, with a warning where it is not all of it."""
    seen = seen_by_both(time1.data, time2.data, brain.data, time1.voxel_mm3)
    unseen_ml = float(brain.data.sum() - seen.sum()) * time1.voxel_mm3 / 1000
    if not seen.any():
        scans = zip(TIMES, (time1, time2), strict=True)
        empty = " and ".join(
            name for name, scan in scans if not reached(scan.data, brain.data, scan.voxel_mm3).any()
        )
        raise PreprocessingError(
            f"inside the brain mask {empty or 'one of the scans'} is empty (0, or the lowest number of the image); "
            "check the scans and the mask"
        )
    if unseen_ml > 0:
        progress.warn(
            f"{unseen_ml:.1f} ml of the brain are outside one of the scans, or 0 in it, and were not searched"
        )
    return replace(brain, data=seen)
