"""Volumes: voxels that carry their geometry, read with every check an input needs and written like another.

Arrays are indexed (x, y, z) as stored. Which geometry counts: the sform where its code is set, else the
qform where its code is set, else the voxel sizes alone with axes running right, anterior, superior
(NIfTI-1 standard, methods 3, 2 and 1).
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.orientations import (
    aff2axcodes,
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from numpy.typing import NDArray

from lesionwise.errors import InputError, PreprocessingError, UsageError
from lesionwise.files import Writer, write_whole
from lesionwise.nifti import read_nifti, slabs, spatial_shape, write_nifti

SIZE_RANGE = (16, 1024)
"""Plausible number of voxels along each axis of a head scan."""

SPACING_RANGE_MM = (0.2, 6.0)
"""Plausible voxel sizes of a head scan."""

SMALLEST_UNIT_VOLUME = 0.5
"""What the unit vectors along the axes must span: a gantry's tilt of 30 degrees leaves 0.87, right angles 1."""

GRID_TOLERANCE = 1e-4
"""Two volumes are on one grid where no element of their affines differs by more."""

LARGEST_INTENSITY = 1e12
"""Greater numbers are no scanner's; their squares would overflow in single precision further on."""


@dataclass(frozen=True)
class Volume:
    """Voxels with their geometry.

    `data`: (x, y, z), float32 for images, bool for masks. `affine`: 4 x 4 float64, voxel indices to mm
    (right, anterior, superior). `header`: as in the file. `name`: what errors call it.
    """

    data: NDArray[Any]
    affine: NDArray[np.float64]
    header: Any
    name: str = "volume"

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """The voxel size along x, y, z: the header's single-precision numbers, as the evaluator does."""
        x, y, z = (float(size) for size in self.header["pixdim"][1:4])
        return x, y, z

    @property
    def voxel_mm3(self) -> float:
        """The volume of a voxel."""
        x, y, z = self.spacing_mm
        return x * y * z

    @property
    def states_orientation(self) -> bool:
        """Whether the header says how the head lies; else right, anterior, superior axes are assumed."""
        return int(self.header["sform_code"]) > 0 or int(self.header["qform_code"]) > 0

    @property
    def axis_codes(self) -> str:
        """The nearest anatomical direction of each axis, for example "RAS"."""
        return "".join(aff2axcodes(self.affine))


def read_volume(path: Path | str) -> Volume:
    """Read a scan of a head: three axes, plausible sizes, finite and not constant.

    Returns float32 data, scaled by the header's slope and intercept, in C order.
    Raises `InputError` with the file's name for anything else, `PreprocessingError` for a sheared grid.
    """
    path = Path(path)
    volume = _read(path, partial(_check_plausible, path))
    lowest, highest = float(volume.data.min()), float(volume.data.max())
    if lowest == highest:
        raise InputError(f"{path}: every voxel has the value {lowest:g}; this is no image, export it again")
    if max(-lowest, highest) > LARGEST_INTENSITY:
        raise InputError(
            f"{path}: intensities reach {max(-lowest, highest):g}, which no scanner gives; rescale it"
        )
    return volume


def read_image(path: Path | str) -> Volume:
    """Read any 3D image of finite numbers, of whatever size: a scan, a mask, a map.

    Returns float32 data as `read_volume`. Raises `InputError` with the file's name for anything else.
    """
    path = Path(path)
    return _read(path, partial(_check_three_axes, path))


def read_mask(path: Path | str) -> Volume:
    """Read a mask of any size: whole numbers, 0 outside; the returned data are bool.

    Raises `InputError` with the file's name for negative or broken numbers and for anything not 3D.
    """
    volume = read_image(path)
    parts = (volume.data[slab] for slab in slabs(volume.data.shape))
    if any(part.min() < 0 or np.any(part != np.rint(part)) for part in parts):
        raise InputError(f"{path}: a mask holds 0 and 1, this has other numbers; threshold it first")
    return Volume(volume.data > 0, volume.affine, volume.header, volume.name)


def check_same_grid(first: Volume, second: Volume, advice: str = "bring them on one grid first") -> None:
    """Raise `InputError`, with advice, unless both have the same shape and, within 1e-4, the same affine."""
    both = f"{first.name} and {second.name}"
    if first.data.shape != second.data.shape:
        sizes = " and ".join(" x ".join(map(str, v.data.shape)) for v in (first, second))
        raise InputError(f"{both}: the sizes differ ({sizes} voxels); {advice}")
    difference = float(np.abs(first.affine - second.affine).max())
    if difference > GRID_TOLERANCE:
        raise InputError(f"{both}: the geometry differs (affines by {difference:.3g}); {advice}")


def to_canonical(volume: Volume) -> Volume:
    """Return the volume with axes permuted and flipped to run (nearest) right, anterior, superior."""
    return to_orientation(volume, "RAS")


def to_orientation(volume: Volume, axis_codes: str) -> Volume:
    """Return the volume with axes permuted and flipped to run (nearest) as named, for example "LPS".

    Its voxels are a view of the volume's: nothing is copied.
    """
    orientation = ornt_transform(io_orientation(volume.affine), axcodes2ornt(axis_codes))
    data = apply_orientation(volume.data, orientation)
    affine = volume.affine @ inv_ornt_aff(orientation, volume.data.shape)
    turned = on_grid(data, affine, volume)
    turned.header["pixdim"][1:4] = volume.header["pixdim"][1:4][np.argsort(orientation[:, 0])]
    return turned


def on_grid(data: NDArray[Any], affine: NDArray[np.float64], like: Volume) -> Volume:
    """Return an array (x, y, z) as a volume of its own geometry; units and name are those of another volume."""
    header = like.header.copy()
    header["dim"][:] = [3, *data.shape, 1, 1, 1, 1]
    header["pixdim"][1:4] = voxel_sizes(affine)
    header.set_sform(affine, code=2)
    header["qform_code"] = 0
    return Volume(data, affine, header, like.name)


def in_order_of(array: NDArray[Any], current: Volume, wanted: Volume) -> NDArray[Any]:
    """Return an array that lies as `current` with its axes permuted and flipped to lie as `wanted`."""
    turn = ornt_transform(io_orientation(current.affine), io_orientation(wanted.affine))
    return np.ascontiguousarray(apply_orientation(array, turn))


def write_mask_like(path: Path | str, mask: NDArray[np.bool_], like: Volume) -> None:
    """Write a mask (x, y, z) as uint8 0/1 with the header geometry of another volume unchanged, in one step.

    Raises `UsageError` for a name that is not .nii or .nii.gz, `InputError` where it cannot be written.
    """
    write_whole({Path(path): mask_writer(Path(path), mask, like)})


def write_image_like(path: Path | str, image: NDArray[np.floating[Any]], like: Volume) -> None:
    """Write an image (x, y, z) as float32 with the header geometry of another volume unchanged, in one step.

    Raises as `write_mask_like`.
    """
    write_whole({Path(path): image_writer(Path(path), image, like)})


def mask_writer(path: Path, mask: NDArray[np.bool_], like: Volume) -> Writer:
    """Return what `files.write_whole` needs to write a mask as `write_mask_like` does."""
    return _writer(path, mask.astype(np.uint8), like)


def image_writer(path: Path, image: NDArray[np.floating[Any]], like: Volume) -> Writer:
    """Return what `files.write_whole` needs to write an image as `write_image_like` does."""
    return _writer(path, image.astype(np.float32, copy=False), like)


def check_nifti_name(path: Path) -> None:
    """Raise `UsageError` unless the name ends in .nii or .nii.gz."""
    if not path.name.endswith((".nii", ".nii.gz")):
        raise UsageError(f"{path}: the name of an output image must end in .nii.gz or .nii")


def _writer(path: Path, array: NDArray[Any], like: Volume) -> Writer:
    check_nifti_name(path)
    if array.shape != like.data.shape:
        raise ValueError(
            f"an array of {array.shape} cannot take the geometry of a volume of {like.data.shape}"
        )
    return partial(write_nifti, array=array, like=like.header, compress=path.name.endswith(".gz"))


def _read(path: Path, check_header: Any) -> Volume:
    header, data = read_nifti(path, check_header)
    affine = _affine(path, header)
    if not np.isfinite(data.sum(dtype=np.float64)):  # one number tells of any NaN or infinity
        raise InputError(
            f"{path}: some voxels are not finite numbers (NaN or infinite); export the image again"
        )
    return Volume(data, affine, header, str(path))


def _check_three_axes(path: Path, header: Any) -> None:
    shape = spatial_shape(header)
    if len(shape) != 3:
        sizes = " x ".join(map(str, shape)) or "1"
        advice = "give one 3D volume" if len(shape) < 3 else "split it and give one 3D volume"
        raise InputError(f"{path}: the image has {len(shape)} axes ({sizes}) and not 3; {advice}")


def _check_plausible(path: Path, header: Any) -> None:
    _check_three_axes(path, header)
    shape = spatial_shape(header)
    if min(shape) < SIZE_RANGE[0] or max(shape) > SIZE_RANGE[1]:
        sizes = " x ".join(map(str, shape))
        raise InputError(
            f"{path}: {sizes} voxels is no size of a head scan ({SIZE_RANGE[0]} to {SIZE_RANGE[1]} an axis)"
        )
    spacing = header["pixdim"][1:4]
    if not np.all((spacing >= SPACING_RANGE_MM[0]) & (spacing <= SPACING_RANGE_MM[1])):
        sizes = " x ".join(f"{size:g}" for size in spacing)
        low, high = SPACING_RANGE_MM
        raise InputError(
            f"{path}: voxels of {sizes} mm are no head scan's ({low} to {high} mm); check the header"
        )


def _affine(path: Path, header: Any) -> NDArray[np.float64]:
    """Return the affine that counts, if it is one: finite, with right angles, of the stated voxel sizes."""
    spacing = np.asarray(header["pixdim"][1:4], dtype=np.float64)
    if int(header["sform_code"]) > 0:
        with np.errstate(invalid="ignore"):  # a signalling NaN; it is refused below
            affine = np.asarray(header.get_sform(), dtype=np.float64)
        kind = "sform"
    elif int(header["qform_code"]) > 0:
        affine = _qform(path, header)
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
        # A sound file (a tilted gantry gives such), which preprocessing does not serve.
        raise PreprocessingError(
            f"{path}: the header's {kind} is sheared (a tilted gantry?); resample it to a grid of right angles"
        )
    if not np.allclose(voxel_sizes(affine), spacing, rtol=0.01):
        raise InputError(
            f"{path}: the header's {kind} and pixdim disagree on the voxel size; correct the header"
        )
    return affine


def _qform(path: Path, header: Any) -> NDArray[np.float64]:
    plain = header.copy()
    if plain["pixdim"][0] not in (-1, 1):  # the standard: anything but -1 means 1
        plain["pixdim"][0] = 1
    try:
        return np.asarray(plain.get_qform(), dtype=np.float64)
    except Exception as error:  # nibabel raises several types here
        raise InputError(f"{path}: the header's qform is not a rotation; export the image again") from error
