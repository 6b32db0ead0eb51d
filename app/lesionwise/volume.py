"""Volumes: voxels that carry their geometry, read with every check an input needs and written like another.

Arrays are indexed (x, y, z) as stored.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    ornt2axcodes,
    ornt_transform,
)
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.transform import Rotation

from lesionwise.errors import InputError, LesionwiseError, PreprocessingError, UsageError
from lesionwise.files import Writer, write_whole
from lesionwise.header_geometry import (
    check_plausible,
    check_three_axes,
    say_millimetres,
    stated_affine,
    stated_spacing_mm,
)
from lesionwise.nifti import read_nifti, slabs, write_nifti

GRID_TOLERANCE = 1e-4
"""Two volumes are on one grid where no element of their affines differs by more."""

LARGEST_INTENSITY = 1e12
"""Greater numbers are no scanner's; their squares would overflow in single precision further on."""

TIE_BREAK = Rotation.from_rotvec([1e-3, 2e-3, 4e-3]).as_matrix()
"""So much (0.3 degrees) a volume is turned in thought before its axes are named, because at exactly 45 degrees rounding would
decide. It turns about every axis along which one order of axes can tie with another: x, y, z and the diagonals."""


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
        x, y, z = (float(size) for size in stated_spacing_mm(self.header))
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
        return "".join(ornt2axcodes(nearest_axes(self.affine)))


def read_volume(path: Path | str) -> Volume:
    """Read a scan of a head: three axes, plausible sizes, finite and not constant.

    Returns float32 data, scaled by the header's slope and intercept, in C order.
    Raises `InputError` with the file's name for anything else, `PreprocessingError` for a sheared grid.
    """
    path = Path(path)
    volume = _read(path, partial(check_plausible, path), when_sheared=PreprocessingError)
    lowest, highest = _range(path, volume.data)
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
    return _read(path, partial(check_three_axes, path))


def read_template(path: Path | str) -> Volume:
    """Read a 3D image of any size that gives others its intensities: `InputError` also where it has only one."""
    volume = read_image(path)
    _range(Path(path), volume.data)
    return volume


def read_mask(path: Path | str, one_value: bool = False) -> Volume:
    """Read a mask of any size: whole numbers, 0 outside; the returned data are bool.

    Raises `InputError` with the file's name for negative or broken numbers, for anything not 3D, and, with `one_value`,
    where what is not 0 has several values: a scan, for example.
    """
    volume = read_image(path)
    parts = (volume.data[slab] for slab in slabs(volume.data.shape))
    if any(part.min() < 0 or np.any(part != np.rint(part)) for part in parts):
        raise InputError(f"{path}: a mask holds 0 and 1, this has other numbers; threshold it first")
    mask = volume.data > 0
    if one_value and mask.any() and np.any(volume.data[mask] != volume.data.max()):
        raise InputError(f"{path}: a mask holds 0 and one other value, this has more; is it a scan?")
    return Volume(mask, volume.affine, volume.header, volume.name)


def check_same_grid(first: Volume, second: Volume, advice: str = "bring them on one grid first") -> None:
    """Raise `InputError`, with advice, unless both have the same shape and, within 1e-4, the same affine."""
    both = f"{first.name} and {second.name}"
    if first.data.shape != second.data.shape:
        sizes = " and ".join(" x ".join(map(str, v.data.shape)) for v in (first, second))
        raise InputError(f"{both}: the sizes differ ({sizes} voxels); {advice}")
    difference = float(np.abs(first.affine - second.affine).max())
    if difference > GRID_TOLERANCE:
        raise InputError(f"{both}: the geometry differs (affines by {difference:.3g}); {advice}")


def nearest_axes(affine: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return (3, 2) for each stored axis the anatomical axis that it is nearest to, and 1 or -1 for the direction along it.

    As nibabel's `io_orientation`, which lets the first stored axis choose first. Here the three together are as near as can
    be (the sum of their cosines is largest), so that the same voxels stored otherwise get the same names.
    """
    left, _, right = np.linalg.svd(affine[:3, :3] / voxel_sizes(affine))
    directions = TIE_BREAK @ left @ right
    _, nearest = linear_sum_assignment(np.abs(directions).T, maximize=True)
    return np.stack([nearest, np.sign(directions[nearest, range(3)])], axis=1)


def to_orientation(volume: Volume, axis_codes: str) -> Volume:
    """Return the volume with axes permuted and flipped to run (nearest) as named, for example "LPS".

    Its voxels are a view of the volume's: nothing is copied.
    """
    orientation = ornt_transform(nearest_axes(volume.affine), axcodes2ornt(axis_codes))
    data = apply_orientation(volume.data, orientation)
    affine = volume.affine @ inv_ornt_aff(orientation, volume.data.shape)
    turned = on_grid(data, affine, volume)
    turned.header["pixdim"][1:4] = stated_spacing_mm(volume.header)[np.argsort(orientation[:, 0])]
    return turned


def on_grid(data: NDArray[Any], affine: NDArray[np.float64], like: Volume) -> Volume:
    """Return an array (x, y, z) as a volume of its own geometry, in mm; all else is of another volume."""
    header = like.header.copy()
    say_millimetres(header)
    header["dim"][:] = [3, *data.shape, 1, 1, 1, 1]
    header["pixdim"][1:4] = voxel_sizes(affine)
    header.set_sform(affine, code=2)
    header["qform_code"] = 0
    return Volume(data, affine, header, like.name)


def in_order_of(array: NDArray[Any], current: Volume, wanted: Volume) -> NDArray[Any]:
    """Return an array that lies as `current` with its axes permuted and flipped to lie as `wanted`."""
    turn = ornt_transform(nearest_axes(current.affine), nearest_axes(wanted.affine))
    return np.ascontiguousarray(apply_orientation(array, turn))


def write_image_like(path: Path | str, image: NDArray[np.floating[Any]], like: Volume) -> None:
    """Write an image (x, y, z) as `image_writer` does, in one step; `InputError` where it cannot be written."""
    write_whole({Path(path): image_writer(Path(path), image, like)})


def mask_writer(path: Path, mask: NDArray[np.bool_], like: Volume) -> Writer:
    """Return what writes a mask (x, y, z) as uint8 0/1 with the header geometry of another volume unchanged.

    It is for `files.write_whole`. Raises `UsageError` for a name that is not .nii or .nii.gz.
    """
    return _writer(path, mask.astype(np.uint8), like)


def image_writer(path: Path, image: NDArray[np.floating[Any]], like: Volume) -> Writer:
    """Return what writes an image (x, y, z) as float32, else as `mask_writer`."""
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


def _range(path: Path, data: NDArray[np.float32]) -> tuple[float, float]:
    """Return the least and the largest intensity of an image. Raises `InputError` where they are one."""
    lowest, highest = float(data.min()), float(data.max())
    if lowest == highest:
        raise InputError(f"{path}: every voxel has the value {lowest:g}; this is no image, export it again")
    return lowest, highest


def _read(path: Path, check_header: Any, when_sheared: type[LesionwiseError] = InputError) -> Volume:
    header, data = read_nifti(path, check_header)
    affine = stated_affine(path, header, when_sheared)
    if not np.isfinite(data.sum(dtype=np.float64)):  # one number tells of any NaN or infinity
        raise InputError(
            f"{path}: some voxels are not finite numbers (NaN or infinite); export the image again"
        )
    return Volume(data, affine, header, str(path))
