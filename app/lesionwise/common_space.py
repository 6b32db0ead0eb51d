"""One grid for two scans that do not share one, half-way between them, and the way back.

As the challenge's organisers did: each scan goes half of the way, so that both are interpolated alike.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from nibabel.affines import apply_affine, from_matvec, voxel_sizes
from nibabel.orientations import inv_ornt_aff
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from lesionwise.errors import InputError
from lesionwise.volume import Volume, nearest_axes, on_grid

MARGIN_MM = 10.0
"""Room around both brains on the half-way grid."""

SMALLEST_SPACING_MM = 0.5
"""A finer grid than this would only cost memory."""

MAX_VOXELS = 200_000_000

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class HalfwaySpace:
    """A grid with right angles half-way between two scans.

    `shape` and `affine` are those of the grid; `to_time1` and `to_time2` (4 x 4, mm) bring a point of the
    half-way space to where it is in each scan.
    """

    shape: tuple[int, int, int]
    affine: Matrix
    to_time1: Matrix
    to_time2: Matrix

    def scan(self, volume: Volume, to_scan: Matrix) -> Volume:
        """Return a scan on this grid: linear between voxels, 0 where the scan does not reach."""
        data = resample(volume.data, volume.affine, to_scan, self.shape, self.affine)
        return on_grid(data, self.affine, volume)

    def mask(self, volume: Volume, to_scan: Matrix) -> Volume:
        """Return a mask on this grid: what more than half is inside."""
        share = self.scan(replace(volume, data=volume.data.astype(np.float32)), to_scan)
        return replace(share, data=share.data > 0.5)

    def back(self, array: NDArray[np.float32], volume: Volume, to_scan: Matrix) -> NDArray[np.float32]:
        """Bring an array on this grid to the grid of a scan: linear, 0 outside."""
        return resample(array, self.affine, inverse(to_scan), volume.data.shape, volume.affine)


def halfway_space(brain1: Volume, brain2: Volume, time1_to_time2: Matrix) -> HalfwaySpace:
    """Lay a grid around both brains half-way between two scans, which meets the voxels of both alike.

    `brain1`, `brain2`: masks on the grids of the scans; `time1_to_time2`: a rigid motion (4 x 4, mm). Along each
    axis the voxels are as fine as the finer scan's. Raises `InputError` where the grid would be far too large.
    """
    half = half_of(time1_to_time2)
    to_time1, to_time2 = inverse(half), half
    axes1, spacing1 = _canonical_axes(brain1)
    axes2, spacing2 = _canonical_axes(brain2)
    first, second = (Rotation.from_matrix(m[:3, :3].T @ a) for m, a in ((to_time1, axes1), (to_time2, axes2)))
    axes = (first * (first.inv() * second) ** 0.5).as_matrix()
    spacing = np.maximum(np.minimum(spacing1, spacing2), SMALLEST_SPACING_MM)

    # In mm along the axes of the grid:
    along_axes = from_matvec(axes.T)
    scan1, scan2 = along_axes @ half @ brain1.affine, along_axes @ inverse(half) @ brain2.affine
    points = [apply_affine(m, _corner_voxels(b.data)) for m, b in ((scan1, brain1), (scan2, brain2))]
    low = np.min([p.min(axis=0) for p in points], axis=0) - MARGIN_MM
    high = np.max([p.max(axis=0) for p in points], axis=0) + MARGIN_MM
    anchor = _midway(scan1, scan2, (low + high) / 2)
    # Rounded first: the margin is often a whole number of voxels.
    before = np.ceil(np.round((anchor - low) / spacing, 6))
    after = np.ceil(np.round((high - anchor) / spacing, 6))
    sizes = (before + after).astype(int) + 1
    if np.prod(sizes.astype(float)) > MAX_VOXELS:
        raise InputError(
            f"{brain1.name} and {brain2.name}: their common grid would have {' x '.join(map(str, sizes))} voxels; "
            "check the voxel sizes in their headers"
        )
    affine = from_matvec(axes * spacing, axes @ (anchor - before * spacing))
    return HalfwaySpace((int(sizes[0]), int(sizes[1]), int(sizes[2])), affine, to_time1, to_time2)


def half_of(motion: Matrix) -> Matrix:
    """Return the rigid motion (4 x 4) that, done twice, is the one given."""
    half = np.eye(4)
    half[:3, :3] = (Rotation.from_matrix(motion[:3, :3]) ** 0.5).as_matrix()
    half[:3, 3] = np.linalg.solve(half[:3, :3] + np.eye(3), motion[:3, 3])
    return half


def inverse(matrix: Matrix) -> Matrix:
    """Return the inverse of a 4 x 4 matrix."""
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)


def resample(
    array: NDArray[Any],
    affine: Matrix,
    motion: Matrix,
    shape: tuple[int, ...],
    grid_affine: Matrix,
    outside: Literal["constant", "nearest"] = "constant",
) -> NDArray[np.float32]:
    """Return an array (x, y, z) on another grid, linear between voxels, float32; outside 0, or the nearest voxel's value.

    `motion` (4 x 4, mm) brings a point of the new grid's space to the space of the array.
    """
    # Rounded, so that a grid that meets the voxels meets the outermost, too: a hair beyond them is outside.
    to_voxel = np.round(inverse(affine) @ motion @ grid_affine, 10)
    resampled: NDArray[np.float32] = ndimage.affine_transform(
        array, to_voxel[:3, :3], to_voxel[:3, 3], tuple(shape), output=np.float32, order=1, mode=outside
    )
    return resampled


def _midway(voxels1: Matrix, voxels2: Matrix, point: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the middle (3, mm) between two voxel centres, one of each scan, that are as close as any around a point.

    `voxels1`, `voxels2`: 4 x 4, voxel indices to mm. A grid of such voxels through that middle is as far from the voxels of
    the one scan as of the other, so that interpolation smooths both alike, and neither where their voxels coincide.
    """
    block = np.argwhere(np.ones((3, 3, 3))) - 1
    near1, near2 = (
        apply_affine(voxels, np.rint(apply_affine(inverse(voxels), point)) + block)
        for voxels in (voxels1, voxels2)
    )
    apart = np.linalg.norm(near1[:, None] - near2, axis=-1).ravel()
    middles = ((near1[:, None] + near2) / 2).reshape(-1, 3)
    # A point may be as near to two middles, but a little beside it is not; so swapped scans get the same grid.
    beside = np.linalg.norm(middles - (point + 0.05), axis=-1)
    return np.asarray(middles[np.lexsort((beside, apart.round(6)))[0]])


def _canonical_axes(volume: Volume) -> tuple[Matrix, NDArray[np.float64]]:
    """Return the axes nearest right, anterior, superior as a rotation, and the voxel sizes along them."""
    affine = volume.affine @ inv_ornt_aff(nearest_axes(volume.affine), volume.data.shape)
    left, _, right = np.linalg.svd(affine[:3, :3] / voxel_sizes(affine))
    return left @ right, voxel_sizes(affine)


def _corner_voxels(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the voxels that bound a mask along each line of the first axis: enough for its box from any side."""
    first, last = mask.argmax(axis=0), mask.shape[0] - 1 - mask[::-1].argmax(axis=0)
    y, z = np.nonzero(mask.any(axis=0))
    ends = [np.stack([end[y, z], y, z], axis=1) for end in (first, last)]
    return np.concatenate(ends).astype(np.float64)
