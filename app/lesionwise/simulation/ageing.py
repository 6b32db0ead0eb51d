"""What months do to a brain beside lesions: the ventricles widen, and all that lies around them is pushed outward.

Between two scans of a patient with multiple sclerosis the bright rim and the lesions along the ventricles move by up to a
millimetre, which no rigid registration takes back: brighter at time 2, and not new.
"""

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

from lesionwise.simulation.anatomy import Anatomy

STEP = 3
"""The field is smooth: it is made on every third voxel and interpolated."""

DEEP_MM = 20.0
"""Fluid deeper in the brain than this is taken for ventricles."""

REACH_MM = 12.0
"""Over this distance from the ventricles the displacement falls to its e-th part."""


def narrower_ventricles(anatomy: Anatomy, by_mm: float) -> np.ndarray | None:
    """Return displacements (3, x, y, z), float32, in mm, that show the anatomy with walls moved in by about `by_mm`.

    To be used as `fields.warp` does: the image is looked up where the displacement leads. Negative: wider ones. None where
    there are no ventricles or nothing is to be moved.
    """
    inside = _coarse_ventricles(anatomy)
    if by_mm == 0 or not inside.any():
        return None
    outside_mm = STEP * (ndimage.distance_transform_edt(~inside) - ndimage.distance_transform_edt(inside))
    smooth_mm = ndimage.gaussian_filter(outside_mm, 1.0)
    outward = np.stack(np.gradient(smooth_mm, STEP))
    field = by_mm * np.exp(-np.abs(smooth_mm) / REACH_MM) * outward
    # Samples at 0, STEP, 2 STEP ...: the last voxels lie beyond the last sample and get its value.
    shape = anatomy.brain.shape
    reached = tuple((n - 1) * STEP + 1 for n in field.shape[1:])
    fine = functional.interpolate(
        torch.from_numpy(field.astype(np.float32))[None], size=reached, mode="trilinear", align_corners=True
    )[0].numpy()
    beyond = [(0, 0), *((0, n - r) for n, r in zip(shape, reached, strict=True))]
    return np.asarray(np.pad(fine, beyond, mode="edge"))


def ventricles(anatomy: Anatomy) -> np.ndarray:
    """Return the bool mask (x, y, z) of the fluid that lies deep in the brain."""
    deep = _coarse_ventricles(anatomy)
    for axis in range(3):
        deep = deep.repeat(STEP, axis=axis)
    # A coarse voxel may begin inside a wall: what is fluid within it and beside it belongs to the ventricle.
    near = ndimage.binary_dilation(deep, np.ones((3, 3, 3)), iterations=STEP - 1)
    return np.asarray(anatomy.fluid() & near[tuple(slice(n) for n in anatomy.brain.shape)])


def _coarse_ventricles(anatomy: Anatomy) -> np.ndarray:
    """Return the ventricles on every third voxel."""
    coarse = np.s_[::STEP, ::STEP, ::STEP]
    deep_mm = STEP * ndimage.distance_transform_edt(anatomy.brain[coarse])
    return np.asarray(anatomy.fluid()[coarse] & (deep_mm > DEEP_MM))
