"""Histogram matching of one image to another, as `animaNyulStandardization` does it with its defaults.

Despite the tool's name there is no landmark training (Nyul et al. 2000): it is ITK's histogram matching. Of
each image only the voxels at or above its mean, background included, count. Their mean, quantiles 1/16 to
15/16 and maximum are mapped onto the reference's, piecewise linearly; below the mean the line runs from the
minimum to the mean. The tool reads both images as the reference's pixel type, which truncates where that is an integer;
here all is double.
"""

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

HISTOGRAM_LEVELS = 100
MATCH_POINTS = 15


def match_histogram(
    image: NDArray[np.floating], reference: NDArray[np.floating], threads: int = 1
) -> NDArray[np.float32]:
    """Return `image` with its intensities mapped onto those of `reference`; the two may differ in shape."""
    matching = sitk.HistogramMatchingImageFilter()
    matching.SetNumberOfHistogramLevels(HISTOGRAM_LEVELS)
    matching.SetNumberOfMatchPoints(MATCH_POINTS)
    matching.SetThresholdAtMeanIntensity(True)
    matching.SetNumberOfThreads(threads)
    matched = matching.Execute(
        sitk.GetImageFromArray(np.ascontiguousarray(image.T, dtype=np.float64)),
        sitk.GetImageFromArray(np.ascontiguousarray(reference.T, dtype=np.float64)),
    )
    return np.ascontiguousarray(sitk.GetArrayFromImage(matched).T, dtype=np.float32)
