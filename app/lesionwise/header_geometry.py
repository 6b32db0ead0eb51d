"""What a NIfTI header says of size, voxels and place, checked: a header is hostile until it is.

Which geometry counts: the sform where its code is set, else the qform where its code is set, else the voxel sizes alone with
axes running right, anterior, superior (NIfTI-1 standard, methods 3, 2 and 1). Headers in metres or micrometres count in
mm, as with ITK; so do those that state no unit.
"""

from pathlib import Path
from typing import Any

import numpy as np
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray

from lesionwise.errors import InputError, LesionwiseError
from lesionwise.nifti import spatial_shape

SIZE_RANGE = (16, 1024)
"""Plausible number of voxels along each axis of a head scan."""

SPACING_RANGE_MM = (0.2, 6.0)
"""Plausible voxel sizes of a head scan."""

LARGEST_FIELD_MM = 600.0
"""More than any scanner sees of a head along an axis; the network's grid has a voxel for each mm of the brain."""

SMALLEST_UNIT_VOLUME = 0.5
"""What the unit vectors along the axes must span: a gantry's tilt of 30 degrees leaves 0.87, right angles 1."""

MILLIMETRES = 2
"""NIfTI's code for them."""

MM_PER_UNIT = {1: 1000.0, MILLIMETRES: 1.0, 3: 0.001}
"""By NIfTI's code of the unit of length."""

UNIT_BITS = 0b111
"""Those of `xyzt_units` that are the unit of length; the others are that of time."""


def mm_per_unit(header: Any) -> float:
    """Return how many mm one is in the unit that a header states; 1 where it states none."""
    return MM_PER_UNIT.get(int(header["xyzt_units"]) & UNIT_BITS, 1.0)


def say_millimetres(header: Any) -> None:
    """Let a header that has got lengths in mm state no other unit."""
    if mm_per_unit(header) != 1:
        header["xyzt_units"] = int(header["xyzt_units"]) & ~UNIT_BITS | MILLIMETRES


def stated_spacing_mm(header: Any) -> NDArray[np.float64]:
    """Return the voxel sizes (3) that a header states, as they are: perhaps not finite."""
    return _in_mm(header["pixdim"][1:4], header)


def check_three_axes(path: Path, header: Any) -> None:
    """Raise `InputError` where the image has not three axes."""
    shape = spatial_shape(header)
    if len(shape) != 3:
        sizes = " x ".join(map(str, shape)) or "1"
        advice = "give one 3D volume" if len(shape) < 3 else "split it and give one 3D volume"
        raise InputError(f"{path}: the image has {len(shape)} axes ({sizes}) and not 3; {advice}")


def check_plausible(path: Path, header: Any) -> None:
    """Raise `InputError` where the image is not 3D, or its size, voxels or field of view are no head scan's."""
    check_three_axes(path, header)
    shape = spatial_shape(header)
    if min(shape) < SIZE_RANGE[0] or max(shape) > SIZE_RANGE[1]:
        sizes = " x ".join(map(str, shape))
        raise InputError(
            f"{path}: {sizes} voxels is no size of a head scan ({SIZE_RANGE[0]} to {SIZE_RANGE[1]} an axis)"
        )
    spacing = stated_spacing_mm(header)
    if not np.all((spacing >= SPACING_RANGE_MM[0]) & (spacing <= SPACING_RANGE_MM[1])):
        sizes = " x ".join(f"{size:g}" for size in spacing)
        low, high = SPACING_RANGE_MM
        raise InputError(
            f"{path}: voxels of {sizes} mm are no head scan's ({low} to {high} mm); check the header"
        )
    field_mm = spacing * shape
    if np.any(field_mm > LARGEST_FIELD_MM):
        sizes = " x ".join(f"{length:.0f}" for length in field_mm)
        raise InputError(
            f"{path}: a field of view of {sizes} mm is no head scan's (at most {LARGEST_FIELD_MM:g} mm an axis);"
            " check the voxel sizes in the header, or crop the scan"
        )


def stated_affine(
    path: Path, header: Any, when_sheared: type[LesionwiseError] = InputError
) -> NDArray[np.float64]:
    """Return the affine that counts (4 x 4, voxels to mm), if it is one: finite, with right angles, of the stated voxel sizes.

    Raises:
        InputError: it is none. `when_sheared`: it is sheared.
    """
    spacing = stated_spacing_mm(header)
    if int(header["sform_code"]) > 0:
        with np.errstate(invalid="ignore"):  # a signalling NaN; it is refused below
            affine = np.asarray(header.get_sform(), dtype=np.float64)
        affine[:3] = _in_mm(affine[:3], header)
        kind = "sform"
    elif int(header["qform_code"]) > 0:
        affine = _qform(path, header)
        affine[:3] = _in_mm(affine[:3], header)
        kind = "qform"
    else:
        affine = np.diag([*spacing, 1.0])
        kind = "voxel size"
    columns = affine[:3, :3]
    if not np.isfinite(affine).all() or np.any(voxel_sizes(affine) < 1e-6):
        raise InputError(
            f"{path}: the header's {kind} is not a geometry (zero or not finite); export the image again"
        )
    directions = columns / voxel_sizes(affine)
    if abs(np.linalg.det(directions)) < SMALLEST_UNIT_VOLUME:
        raise InputError(f"{path}: the header's {kind} is flat; export the image again")
    if np.abs(directions.T @ directions - np.eye(3)).max() > 0.02:
        raise when_sheared(
            f"{path}: the header's {kind} is sheared (a tilted gantry?); resample it to a grid of right angles"
        )
    if not np.allclose(voxel_sizes(affine), spacing, rtol=0.01):
        raise InputError(
            f"{path}: the header's {kind} and pixdim disagree on the voxel size; correct the header"
        )
    return affine


def _in_mm(lengths: NDArray[Any], header: Any) -> NDArray[np.float64]:
    """Return lengths of a header in mm; those of another unit in single precision, so that 0.001 m is not 1.00000005 mm."""
    scale = mm_per_unit(header)
    with np.errstate(over="ignore", invalid="ignore"):  # who uses them looks whether they are finite
        scaled = lengths.astype(np.float64) * scale
        return scaled if scale == 1 else scaled.astype(np.float32).astype(np.float64)


def _qform(path: Path, header: Any) -> NDArray[np.float64]:
    plain = header.copy()
    if plain["pixdim"][0] not in (-1, 1):  # the standard: anything but -1 means 1
        plain["pixdim"][0] = 1
    try:
        return np.asarray(plain.get_qform(), dtype=np.float64)
    except Exception as error:  # nibabel raises several types here
        raise InputError(f"{path}: the header's qform is not a rotation; export the image again") from error
