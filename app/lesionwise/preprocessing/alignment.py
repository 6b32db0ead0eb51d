"""What registration is made of: images with points in mm, masks of the head, mutual information, descent.

Mattes mutual information (Mattes et al. 2003, "PET-CT image registration in the chest using free-form
deformations", IEEE TMI 22(1)), with SimpleITK. Points are in mm (right, anterior, superior): ITK's own convention
differs in the signs of two axes, which changes nothing as long as it does so for both images.
"""

import itertools
from contextlib import suppress
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray

from lesionwise.errors import PreprocessingError

SEARCH_MM = 8.0
SEARCH_DEGREES = (-30.0, -15.0, 0.0, 15.0, 30.0)
STARTS = 6  # of the search's best, each followed to the bottom of its valley

HEAD_MM = 4.0  # voxels of the mask of the head, which is grown by two of them
HISTOGRAM_BINS = 32
ITERATIONS = 60
SEED = 1


def itk_image(data: NDArray[np.floating[Any]], affine: NDArray[np.floating[Any]]) -> sitk.Image:
    """Return an array (x, y, z) with its affine as an ITK image of float32, points in mm as in the affine."""
    spacing = voxel_sizes(affine)
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.T, dtype=np.float32))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    return image


def matrix_of(transform: sitk.Euler3DTransform | sitk.AffineTransform) -> NDArray[np.float64]:
    """Return a rigid or affine transform as a 4 x 4 matrix, mm to mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(transform.GetMatrix()).reshape(3, 3)
    matrix[:3, 3] = transform.TransformPoint((0.0, 0.0, 0.0))
    return matrix


def with_spacing(image: sitk.Image, size_mm: float) -> sitk.Image:
    """Return the image with cubic voxels of that size along its own axes, smoothed where they become larger."""
    for axis, spacing in enumerate(image.GetSpacing()):
        if spacing < size_mm and image.GetSize()[axis] >= 4:  # the filter needs four voxels
            blur = sitk.RecursiveGaussianImageFilter()
            blur.SetDirection(axis)
            blur.SetSigma(0.42 * size_mm)
            image = blur.Execute(image)
    spacing, size = np.array(image.GetSpacing()), np.array(image.GetSize())
    new_size = np.maximum(1, np.rint(size * spacing / size_mm)).astype(int)
    corner = (spacing * (size - 1) - size_mm * (new_size - 1)) / 2
    grid = sitk.ResampleImageFilter()
    grid.SetSize(new_size.tolist())
    grid.SetOutputSpacing([size_mm] * 3)
    grid.SetOutputDirection(image.GetDirection())
    axes = np.array(image.GetDirection()).reshape(3, 3)
    grid.SetOutputOrigin((np.array(image.GetOrigin()) + axes @ corner).tolist())
    grid.SetInterpolator(sitk.sitkLinear)
    return sitk.Cast(grid.Execute(image), sitk.sitkFloat32)


def head_mask(image: sitk.Image) -> sitk.Image:
    """Return the mask of all that is bright, closed, with a margin, on a coarse grid."""
    coarse = with_spacing(image, HEAD_MM)
    closed = sitk.BinaryMorphologicalClosing(sitk.OtsuThreshold(coarse, 0, 1), [1] * 3)
    return sitk.BinaryDilate(closed, [2] * 3)


def mask_like(mask: sitk.Image, image: sitk.Image, transform: sitk.Transform | None = None) -> sitk.Image:
    """Return a mask on the grid of an image."""
    return sitk.Resample(mask, image, transform or sitk.Transform(), sitk.sitkNearestNeighbor)


def rigid_search(
    fixed: sitk.Image, moving: sitk.Image, head: sitk.Image, moving_head: sitk.Image
) -> sitk.Euler3DTransform:
    """Return the best of many coarse starts: rotations, with heads laid over each other or left where they are.

    Raises PreprocessingError where nothing stands out, or nothing overlaps.
    """
    fixed, moving = with_spacing(fixed, SEARCH_MM), with_spacing(moving, SEARCH_MM)
    centre, other_centre = centroid(head), centroid(moving_head)
    head = mask_like(head, fixed)
    metric = _mutual_information(head, 1.0)
    candidates = []
    angles = np.radians(SEARCH_DEGREES)
    for shift in (other_centre - centre, np.zeros(3)):
        for rotation in itertools.product(angles, angles, angles):
            start = sitk.Euler3DTransform(centre.tolist(), *rotation, shift.tolist())
            metric.SetInitialTransform(start)
            with suppress(RuntimeError):  # the heads do not overlap
                candidates.append((metric.MetricEvaluate(fixed, moving), start))
    candidates.sort(key=lambda candidate: candidate[0])
    found = []
    for _, start in candidates[:STARTS]:
        with suppress(PreprocessingError):  # driven apart; another start may do
            found.append(descend(fixed, moving, head, 1.0, start))
    if not found:
        raise PreprocessingError(
            "registration failed: the heads of the two scans do not overlap; check that both are heads"
        )
    return min(found, key=lambda candidate: candidate[1])[0]


def descend(
    fixed: sitk.Image, moving: sitk.Image, mask: sitk.Image, share: float, start: sitk.Transform
) -> tuple[sitk.Transform, float]:
    """Return the bottom of the valley that `start` lies in, and the metric there (the lower the better).

    The transform is of the kind of `start`; `share` of the voxels in `mask` is looked at.
    Raises PreprocessingError where they hold nothing to compare: an image is constant, or the two are driven apart.
    """
    registration = _mutual_information(mask, share)
    size_mm = fixed.GetSpacing()[0]
    registration.SetOptimizerAsRegularStepGradientDescent(
        learningRate=size_mm,
        minStep=size_mm / 400,
        numberOfIterations=ITERATIONS,
        relaxationFactor=0.6,
        gradientMagnitudeTolerance=1e-8,
    )
    registration.SetOptimizerScalesFromPhysicalShift()
    transform = type(start)(start)
    registration.SetInitialTransform(transform, inPlace=True)
    try:
        registration.Execute(fixed, moving)
    except RuntimeError as error:
        raise PreprocessingError(
            "registration failed: the two scans hold nothing in common that could be laid on each other;"
            " check that both are heads"
        ) from error
    return transform, registration.GetMetricValue()


def centroid(mask: sitk.Image) -> NDArray[np.float64]:
    """Return the centre of a mask in mm."""
    voxels = np.argwhere(sitk.GetArrayViewFromImage(mask) > 0)
    if voxels.size == 0:
        raise PreprocessingError(
            "registration failed: nothing in one of the scans stands out from its background"
        )
    return np.array(mask.TransformContinuousIndexToPhysicalPoint(voxels.mean(axis=0)[::-1].tolist()))


def _mutual_information(mask: sitk.Image, share: float) -> sitk.ImageRegistrationMethod:
    registration = sitk.ImageRegistrationMethod()
    registration.SetMetricAsMattesMutualInformation(HISTOGRAM_BINS)
    registration.SetMetricFixedMask(mask)
    if share < 1:
        registration.SetMetricSamplingStrategy(registration.RANDOM)
        registration.SetMetricSamplingPercentage(share, SEED)
    registration.SetInterpolator(sitk.sitkLinear)
    return registration
