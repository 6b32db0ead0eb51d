"""Where both scans looked: elsewhere in the brain nothing can be compared."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SMALLEST_GAP_MM3 = 100.0
"""Zeros in less than this are dark voxels of the image, not the end of the scan. Nor is what the brain encloses on all sides:
an export with a raised black level has zeros in the ventricles."""


def seen_by_both(
    time1: NDArray[np.floating[Any]],
    time2: NDArray[np.floating[Any]],
    brain_mask: NDArray[np.bool_],
    voxel_volume_mm3: float,
) -> NDArray[np.bool_]:
    """Return the brain mask without what one of the scans did not reach; all arrays (x, y, z) on one grid.

    Resampling to a common grid fills what a scan did not reach with zeros. The voxels beside such a gap are left out
    too: they are interpolated between the image and the zeros.
    """
    gap = np.zeros(brain_mask.shape, dtype=np.bool_)
    border = ~ndimage.binary_erosion(brain_mask)  # of the brain, or of the grid
    for image in (time1, time2):
        labels, _ = ndimage.label(brain_mask & (image == 0))
        sizes_mm3 = np.bincount(labels.ravel()) * voxel_volume_mm3
        is_open = np.zeros(len(sizes_mm3), dtype=np.bool_)
        is_open[labels[border]] = True
        is_open[0] = False
        gap |= (is_open & (sizes_mm3 >= SMALLEST_GAP_MM3))[labels]
    seen: NDArray[np.bool_] = brain_mask & ~ndimage.binary_dilation(gap, np.ones((3, 3, 3)))
    return seen
