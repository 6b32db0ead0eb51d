"""Intensities of two scans on one scale: each image is divided by the commonest intensity of its brain.

Source: the public inference container of the MSSEG-2 entry that this project rebuilds. The voxels inside the
mask up to their 99th percentile q, a Gaussian kernel density estimate of them (bandwidth q / 80, 80 grid
points), its highest peak.
"""

import numpy as np
from numpy.typing import NDArray

from lesionwise.errors import PreprocessingError

GRID_POINTS = 80
UPPER_PERCENTILE = 99.0
DARKEST_PEAK = 0.15
"""Of that percentile. No tissue of a FLAIR is so dark: real brains have their commonest intensity at 0.59 to 0.77 of it (T1
at 0.82 to 0.89, T2 at 0.28 to 0.30)."""
HISTOGRAM_BINS = 4096  # so fine, a fiftieth of the bandwidth, that binning does not move the peak


def normalize(image: NDArray[np.floating], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Divide an image by the intensity that is commonest inside the mask; both have the same shape.

    Raises PreprocessingError where there is no such intensity: see `kde_peak`.
    """
    return (image / kde_peak(image[mask])).astype(np.float32)


def kde_peak(values: NDArray[np.floating]) -> float:
    """Return the intensity at which a smooth histogram of the brain's voxels is highest.

    `values` has one axis. The estimate is evaluated at 80 evenly spaced intensities, from three bandwidths
    below the smallest value to three above the 99th percentile, and the result is one of them. Values further below 0 than
    the 99th percentile is above are left out: a stray one would draw the 80 so far apart that they miss the peak.
    Nor is a peak below `DARKEST_PEAK` looked at, however high: it is what the scan did not reach or clipped, air, or bone.

    Raises PreprocessingError where there are no values, all are alike, half are not positive, or there is no such peak.
    """
    if values.size == 0:
        raise PreprocessingError(
            "the brain mask is empty, so intensities cannot be normalised; check the mask"
        )
    upper = float(np.percentile(values, UPPER_PERCENTILE))
    lower = float(values.min())
    if not (upper > 0.0 and upper > lower):
        raise PreprocessingError(
            f"intensities inside the brain mask run from {lower:g} to {upper:g} (99th percentile), "
            "which leaves nothing to normalise by; check the image and the mask"
        )
    if (middle := float(np.median(values))) <= 0.0:
        raise PreprocessingError(
            f"half of the intensities inside the brain mask are {middle:g} or less, and none may be below 0; check the mask, "
            "and give the scan as the scanner wrote it"
        )
    lower = max(lower, -upper)
    bandwidth = upper / GRID_POINTS
    counts, edges = np.histogram(values, bins=HISTOGRAM_BINS, range=(lower, upper))
    centres = (edges[:-1] + edges[1:]) / 2
    grid = np.linspace(lower - 3 * bandwidth, upper + 3 * bandwidth, GRID_POINTS)
    density = np.exp(-0.5 * ((grid[:, None] - centres) / bandwidth) ** 2) @ counts
    # The flank of a darker peak may be higher than the brain's own: only where the density rises and falls is a peak.
    inner = density[1:-1]
    is_peak = (inner > density[:-2]) & (inner >= density[2:]) & (grid[1:-1] >= DARKEST_PEAK * upper)
    if not is_peak.any():
        raise PreprocessingError(
            f"no intensity above {DARKEST_PEAK * upper:g} is common inside the brain mask, and what is darker is no tissue; "
            "check the mask, and give the scan as the scanner wrote it, not standardised"
        )
    return float(grid[1:-1][np.where(is_peak, inner, 0).argmax()])
