"""Correction of the slowly varying brightness of a scan: N4, as `animaN4BiasCorrection -B 0.3` runs it.

Source: Tustison et al. 2010, "N4ITK: improved N3 bias correction", IEEE TMI 29(6), as implemented in ITK; the
settings are those of Anima 4.2 with the flag that its scripts for multiple sclerosis pass.
"""

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from lesionwise.errors import PreprocessingError

BIAS_FIELD_FWHM = 0.3
WIENER_NOISE = 0.01
ITERATIONS_BY_LEVEL = (50, 40, 30)
CONVERGENCE_THRESHOLD = 1e-4
SPLINE_ORDER = 3
CONTROL_POINTS = (4, 4, 4)  # of the first level: one span per axis, doubled at each following level
SHRINK_FACTOR = 4
OTSU_BINS = 200


def correct_bias_field(image: NDArray[np.floating], threads: int = 1) -> NDArray[np.float32]:
    """Divide an image by its bias field, estimated where the image is brighter than its Otsu threshold.

    `image` is indexed (x, y, z); on a brain-masked image the zeros outside take part in the threshold, which
    then parts brain from background. The result has the same shape; voxels outside the brain are divided too,
    so zeros stay zeros. The field's splines span the grid whatever its voxel size: no spacing is needed.

    An image with nothing bright in it (a constant one) is returned as it is.

    Raises PreprocessingError where N4 fails (an image of a few voxels, say).
    """
    original = sitk.GetImageFromArray(np.ascontiguousarray(image.T, dtype=np.float32))
    bright = sitk.OtsuThreshold(original, 0, 1, OTSU_BINS)

    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations(ITERATIONS_BY_LEVEL)
    n4.SetConvergenceThreshold(CONVERGENCE_THRESHOLD)
    n4.SetBiasFieldFullWidthAtHalfMaximum(BIAS_FIELD_FWHM)
    n4.SetWienerFilterNoise(WIENER_NOISE)
    n4.SetSplineOrder(SPLINE_ORDER)
    n4.SetNumberOfControlPoints(CONTROL_POINTS)
    n4.SetNumberOfThreads(threads)
    # The spline filters inside N4 only know the process's own number, which therefore changes with each call.
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    try:
        # ITK's shrinking picks one voxel per block and does not average, so the mask stays a mask.
        factors = [SHRINK_FACTOR] * 3
        n4.Execute(sitk.Cast(sitk.Shrink(original, factors), sitk.sitkFloat64), sitk.Shrink(bright, factors))
        log_field = sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(original)).T
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise PreprocessingError(
            f"the bias field could not be estimated ({reason}); check the image or use --no-bias-correction"
        ) from error
    return np.ascontiguousarray(image / np.exp(log_field), dtype=np.float32)
