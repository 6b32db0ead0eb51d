"""The network's grid over a scan, and the way to it and back.

The network sees axes that run right, anterior, superior, voxels of 1 mm, and the brain with a margin.
Axes are only permuted and flipped to the nearest anatomical direction, never rotated, so that each axis is
resampled on its own. Training uses the same functions, so that it sees what inference sees.
"""

from dataclasses import dataclass

import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.orientations import apply_orientation, inv_ornt_aff, ornt_transform
from numpy.typing import NDArray
from scipy import ndimage

from lesionwise.network import PATCH_SIZE
from lesionwise.volume import nearest_axes

Floats = NDArray[np.float32]

SPACING_MM = 1.0
"""Of the network's voxels."""

RAS = np.array([[0, 1], [1, 1], [2, 1]])
"""Orientation of axes that run right, anterior, superior, in nibabel's notation."""


@dataclass(frozen=True)
class NetworkGrid:
    """1 mm voxels laid over a scan: how to get there and back.

    Along each canonical axis, network voxel n lies at scan voxel `start + n * step`.
    `orientation`: nibabel's, from the scan's axes to canonical ones. `scan_shape`: canonical order.
    """

    orientation: NDArray[np.float64]
    scan_shape: tuple[int, ...]
    start: tuple[float, ...]
    step: tuple[float, ...]
    shape: tuple[int, ...]
    affine: NDArray[np.float64]

    def to_network(self, image: Floats) -> Floats:
        """Bring an array (x, y, z) of the scan to (right, anterior, superior) of the network's grid.

        Linear between voxels, 0 outside the scan. Axes with voxels below 1 mm are smoothed first so that
        detail too fine for the new grid does not fold into it.
        """
        canonical = apply_orientation(image, self.orientation).astype(np.float32)
        sigma = [antialiasing_sigma_voxels(step) for step in self.step]
        if any(sigma):
            canonical = ndimage.gaussian_filter(canonical, sigma, mode="nearest")
        return _sample(canonical, self.start, self.step, self.shape)

    def brain_to_network(self, image: Floats, mask: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.bool_]]:
        """Bring the inside of a brain mask to the network's grid; return it, 0 outside, and the mask there.

        Only voxels inside count, so that the brain does not fade towards its edge: training, too, sees
        brains cut out of a 1 mm image.
        """
        share = self.to_network(mask.astype(np.float32))
        inside = share > 0.5
        brain = self.to_network(np.where(mask, image, np.float32(0)))
        return np.divide(brain, share, out=np.zeros_like(brain), where=inside), inside

    def to_scan(self, array: Floats) -> Floats:
        """Bring an array on the network's grid back to the scan's, (x, y, z): linear, 0 outside the grid."""
        start = [-start / step for start, step in zip(self.start, self.step, strict=True)]
        step = [1 / step for step in self.step]
        canonical = _sample(array, start, step, self.scan_shape)
        return np.ascontiguousarray(apply_orientation(canonical, ornt_transform(RAS, self.orientation)))


def network_grid(
    mask: NDArray[np.bool_],
    affine: NDArray[np.float64],
    margin_mm: float = 8.0,
    spacing_mm: float = SPACING_MM,
    smallest: int = PATCH_SIZE,
) -> NetworkGrid:
    """Lay the network's grid over the box of a brain mask (x, y, z) with a margin.

    The grid begins on a voxel of the scan, so that 1 mm scans are not interpolated. An axis shorter than
    `smallest` voxels grows on both sides. Raises `ValueError` for an empty mask.
    """
    if not mask.any():
        raise ValueError("no grid can be laid over an empty mask")
    orientation = nearest_axes(affine)
    canonical = apply_orientation(mask, orientation)
    canonical_affine = affine @ inv_ornt_aff(orientation, mask.shape)
    sizes_mm = voxel_sizes(canonical_affine)
    box = ndimage.find_objects(canonical.astype(np.uint8))[0]
    start, step, shape = [], [], []
    for axis, size_mm in zip(box, sizes_mm, strict=True):
        margin_voxels = int(np.ceil(margin_mm / size_mm))
        first, last = axis.start - margin_voxels, axis.stop - 1 + margin_voxels
        length = int(np.ceil((last - first) * size_mm / spacing_mm - 1e-6)) + 1
        if length < smallest:
            first -= int((smallest - length) * spacing_mm / size_mm / 2)
            length = smallest
        start.append(float(first))
        step.append(float(spacing_mm / size_mm))
        shape.append(length)
    grid_affine = canonical_affine @ np.array(
        [[*(step[i] * (i == j) for j in range(3)), start[i]] for i in range(3)] + [[0, 0, 0, 1]]
    )
    return NetworkGrid(orientation, canonical.shape, tuple(start), tuple(step), tuple(shape), grid_affine)


def antialiasing_sigma_voxels(step: float) -> float:
    """Return the Gaussian's standard deviation before taking every `step`-th voxel: (step - 1) / 2.

    It is scikit-image's rule (`transform.resize`, anti_aliasing_sigma); 0 where nothing is left out.
    """
    return max(0.0, (step - 1) / 2)


def _sample(
    array: Floats,
    start: tuple[float, ...] | list[float],
    step: tuple[float, ...] | list[float],
    shape: tuple[int, ...],
) -> Floats:
    """Take the values at start + n * step along each axis, linear between voxels, 0 outside."""
    sampled: Floats = ndimage.affine_transform(
        array,
        np.array(step),
        offset=start,
        output_shape=shape,
        order=1,
        mode="grid-constant",
        output=np.float32,
    )
    return sampled
