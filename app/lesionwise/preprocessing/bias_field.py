"""Correction of the slowly varying brightness of a scan: N4, as `animaN4BiasCorrection -B 0.3` runs it.

Source: Tustison et al. 2010, "N4ITK: improved N3 bias correction", IEEE TMI 29(6), as implemented in ITK; the
settings are those of Anima 4.2 with the flag that its scripts for multiple sclerosis pass.
"""

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from lesionwise.errors import PreprocessingError
from lesionwise.preprocessing.itk_threads import itk_threads

BIAS_FIELD_FWHM = 0.3
WIENER_NOISE = 0.01
ITERATIONS_BY_LEVEL = (50, 40, 30)
CONVERGENCE_THRESHOLD = 1e-4
SPLINE_ORDER = 3
CONTROL_POINTS = (4, 4, 4)  # of the first level: one span per axis, doubled at each following level
SHRINK_FACTOR = 4
OTSU_BINS = 200

SPANS = 2 ** (len(ITERATIONS_BY_LEVEL) - 1)
"""Of the splines of the last level, along each axis."""
NODES = (0.0, 0.25, 0.5, 0.75)
"""Places in a span at which the field's value is asked for."""


def correct_bias_field(image: NDArray[np.floating], threads: int = 1) -> NDArray[np.float32]:
    """Divide an image by its bias field, estimated where the image is brighter than its Otsu threshold.

    `image` is indexed (x, y, z); on a brain-masked image the zeros outside take part in the threshold, which
    then parts brain from background. The result has the same shape; voxels outside the brain are divided too,
    so zeros stay zeros. The field's splines span the grid whatever its voxel size: no spacing is needed.

    An image with nothing bright in it (a constant one) is returned as it is.

    Raises PreprocessingError where N4 fails (an image of a few voxels, say).
    """
    image = np.asarray(image, dtype=np.float32)
    # The threshold follows from the histogram alone, whatever the order of the voxels: no copy is turned for it.
    otsu = sitk.OtsuThresholdImageFilter()
    otsu.SetNumberOfHistogramBins(OTSU_BINS)
    otsu.SetNumberOfThreads(threads)
    otsu.Execute(sitk.GetImageFromArray(image))
    sample = image[np.ix_(*map(_picked, image.shape))].T

    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations(ITERATIONS_BY_LEVEL)
    n4.SetConvergenceThreshold(CONVERGENCE_THRESHOLD)
    n4.SetBiasFieldFullWidthAtHalfMaximum(BIAS_FIELD_FWHM)
    n4.SetWienerFilterNoise(WIENER_NOISE)
    n4.SetSplineOrder(SPLINE_ORDER)
    n4.SetNumberOfControlPoints(CONTROL_POINTS)
    n4.SetNumberOfThreads(threads)
    try:
        with itk_threads(
            1
        ):  # which the spline filters inside N4 take: so the result is the same with any `threads`
            n4.Execute(
                sitk.GetImageFromArray(sample.astype(np.float64)),
                sitk.GetImageFromArray((sample > otsu.GetThreshold()).astype(np.uint8)),
            )
            nodes = n4.GetLogBiasFieldAsImage(sitk.Image([SPANS * len(NODES) + 1] * 3, sitk.sitkFloat32))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise PreprocessingError(
            f"the bias field could not be estimated ({reason}); check the image or use --no-bias-correction"
        ) from error
    return _divided(image, sitk.GetArrayFromImage(nodes).T.astype(np.float64))


def _picked(size: int) -> NDArray[np.intp]:
    """Return which voxels along an axis ITK's shrinking picks: one of each block, without averaging."""
    line = sitk.GetImageFromArray(np.arange(size, dtype=np.float32)[None, None])
    shrunk = sitk.GetArrayFromImage(sitk.Shrink(line, [SHRINK_FACTOR, 1, 1]))
    return np.asarray(shrunk, dtype=np.intp).ravel()


def _divided(image: NDArray[np.float32], nodes: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the image divided by the exponential of the field whose values at the nodes are given.

    Plane by plane, so that no field of the image's size takes memory, and only where the image is not zero.
    """
    along_x, along_y, along_z = (_interpolation(size) for size in image.shape)
    corrected = np.array(image, order="C")
    for x, weights in enumerate(along_x):
        if corrected[x].any():
            log_field = along_y @ np.tensordot(weights, nodes, 1) @ along_z.T
            corrected[x] /= np.exp(log_field, dtype=np.float32, casting="same_kind")
    return corrected


def _interpolation(size: int) -> NDArray[np.float64]:
    """Return the matrix (voxels, nodes) that gives a spline's value at each voxel from those at its nodes.

    A cubic spline is one cubic polynomial in each span, and four values of it say which one. So the nodes,
    four in each span, hold the whole field (the last node, the end of the last span, is not needed).
    """
    place = SPANS * np.arange(size) / max(size - 1, 1)
    span = np.minimum(place.astype(np.intp), SPANS - 1)
    offset = place - span
    matrix = np.zeros((size, SPANS * len(NODES) + 1))
    for node, here in enumerate(NODES):
        weight = np.ones(size)
        for there in NODES[:node] + NODES[node + 1 :]:
            weight *= (offset - there) / (here - there)
        matrix[np.arange(size), span * len(NODES) + node] = weight
    return matrix
