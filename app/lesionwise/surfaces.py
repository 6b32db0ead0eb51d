"""Distances between the surfaces of two masks, in mm between voxel centres.

The definitions are those of animaSegPerfAnalyzer (ITK's Hausdorff and contour mean distance filters).
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from lesionwise.lesions import Spacing, bounding_box

SURFACE_MEASURES = ("HausdorffDistance", "ContourMeanDistance", "SurfaceDistance", "SurfaceDistanceAnima")


def surface_measures(
    prediction: NDArray[np.bool_], truth: NDArray[np.bool_], spacing_mm: Spacing
) -> dict[str, float]:
    """Return the distances between two masks (x, y, z) in mm; nan where one has no contour.

    `HausdorffDistance`: the largest distance of any voxel of a mask to the other mask.
    `ContourMeanDistance`: the mean distance of the contour of a mask to the other's; the larger of the two.
    `SurfaceDistance`: the same mean over both contours together, the symmetric average surface distance.
    `SurfaceDistanceAnima`: what the tool prints under that name. It never resets its running minimum, so
    that each contour voxel counts with the smallest distance met so far (x fastest, then y, then z).
    """
    box = _box_with_margin(prediction | truth)
    prediction, truth = prediction[box], truth[box]
    truth_contour = _points(contour(truth), spacing_mm)
    predicted_contour = _points(contour(prediction), spacing_mm)
    if not len(truth_contour) or not len(predicted_contour):
        return dict.fromkeys(SURFACE_MEASURES, math.nan)

    to_truth, to_prediction = KDTree(truth_contour), KDTree(predicted_contour)
    from_truth: NDArray[np.float64] = to_prediction.query(truth_contour)[0]
    from_prediction: NDArray[np.float64] = to_truth.query(predicted_contour)[0]
    # Seen from outside, the nearest voxel of a mask is on its contour: one step closer would be outside.
    farthest = [
        to_prediction.query(_points(truth & ~prediction, spacing_mm))[0].max(initial=0.0),
        to_truth.query(_points(prediction & ~truth, spacing_mm))[0].max(initial=0.0),
    ]
    contour_voxels = len(truth_contour) + len(predicted_contour)
    smallest_so_far = [np.minimum.accumulate(from_truth), np.minimum.accumulate(from_prediction)]
    return {
        "HausdorffDistance": float(max(farthest)),
        "ContourMeanDistance": float(max(from_truth.mean(), from_prediction.mean())),
        "SurfaceDistance": float((from_truth.sum() + from_prediction.sum()) / contour_voxels),
        "SurfaceDistanceAnima": float(sum(part.sum() for part in smallest_so_far) / contour_voxels),
    }


def contour(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the voxels of a mask (x, y, z) with a face neighbour in the background.

    Beyond the border of the image is no background: a lesion cut by the border has no contour there.
    """
    interior = mask.copy()
    for axis in range(mask.ndim):
        inside, neighbours = np.moveaxis(interior, axis, 0), np.moveaxis(mask, axis, 0)
        inside[1:] &= neighbours[:-1]
        inside[:-1] &= neighbours[1:]
    return mask & ~interior


def _box_with_margin(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Return the mask's box and one voxel around it, as far as the image goes, so that contours stay."""
    box = bounding_box(mask) or (slice(0, 0),) * mask.ndim
    return tuple(slice(max(axis.start - 1, 0), axis.stop + 1) for axis in box)


def _points(mask: NDArray[np.bool_], spacing_mm: Spacing) -> NDArray[np.float64]:
    """Return the voxel centres of a mask in mm (n, 3), in raster order (x fastest, then y, then z)."""
    x, y, z = np.unravel_index(np.flatnonzero(mask), mask.shape)
    order = np.lexsort((x, y, z))
    points: NDArray[np.float64] = np.stack([x, y, z], axis=1)[order] * np.asarray(spacing_mm)
    return points
