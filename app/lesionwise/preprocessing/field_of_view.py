"""Where both scans looked: elsewhere in the brain nothing can be compared."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SMALLEST_GAP_MM3 = 100.0
"""Less than this is dark voxels of the image, not the end of the scan. Nor is what the brain encloses on all sides: an export
with a raised black level has zeros in the ventricles."""

FILL_TOLERANCE = 0.001
"""Of the brain's 99th percentile. A file of scaled integers holds a fill of 0 as a number up to half a step away: 0.0002 of it
where the brightest voxel is 25 times as bright. Noise is many times as large, so that dark fluid is not taken for fill."""


def seen_by_both(
    time1: NDArray[np.floating[Any]],
    time2: NDArray[np.floating[Any]],
    brain_mask: NDArray[np.bool_],
    voxel_volume_mm3: float,
) -> NDArray[np.bool_]:
    """Return the brain mask without what one of the scans did not reach; all arrays (x, y, z) on one grid."""
    return reached(time1, brain_mask, voxel_volume_mm3) & reached(time2, brain_mask, voxel_volume_mm3)


def reached(
    image: NDArray[np.floating[Any]], brain_mask: NDArray[np.bool_], voxel_volume_mm3: float
) -> NDArray[np.bool_]:
    """Return the brain mask without what a scan did not reach; both arrays (x, y, z) on one grid.

    Resampling to a common grid fills that with one number: 0, or another that no voxel of the image is below. The voxels
    beside such a gap are left out too: they are interpolated between the image and the fill.
    """
    values = image[brain_mask]
    if not values.size:
        return brain_mask
    tolerance = FILL_TOLERANCE * abs(float(np.percentile(values, 99)))
    gap = np.zeros(brain_mask.shape, dtype=np.bool_)
    for fill in {0.0, float(image.min())}:
        is_fill = np.abs(values - fill) <= tolerance
        if np.count_nonzero(is_fill) * voxel_volume_mm3 >= SMALLEST_GAP_MM3:
            filled = np.zeros_like(gap)
            filled[brain_mask] = is_fill
            gap |= _open_parts(filled, brain_mask, voxel_volume_mm3)
    seen: NDArray[np.bool_] = brain_mask & ~ndimage.binary_dilation(gap, np.ones((3, 3, 3)))
    return seen


def _open_parts(
    filled: NDArray[np.bool_], brain_mask: NDArray[np.bool_], voxel_volume_mm3: float
) -> NDArray[np.bool_]:
    """Return the connected parts of `filled` that are large and reach the border of the brain, or of the grid."""
    labels, _ = ndimage.label(filled)
    sizes_mm3 = np.bincount(labels.ravel()) * voxel_volume_mm3
    is_open = np.zeros(len(sizes_mm3), dtype=np.bool_)
    is_open[labels[~ndimage.binary_erosion(brain_mask)]] = True
    is_open[0] = False
    parts: NDArray[np.bool_] = (is_open & (sizes_mm3 >= SMALLEST_GAP_MM3))[labels]
    return parts
