"""N4 and non-local means against what one would write without the program, on a block of a synthetic head, one thread."""

from collections.abc import Iterator

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.programs import head, middle
from benchmarks.table import Row, cpu_seconds_in_turn
from lesionwise.preprocessing import bias_field, denoising

N4_SHAPE = (160, 192, 160)
DENOISED_SHAPE = (64, 64, 48)


def rows() -> Iterator[Row]:
    """Time both filters beside their plain forms; results agree as tests/test_bias_field.py and test_denoising.py show."""
    image = middle(np.where(head().brain, head().time1, 0).astype(np.float32), N4_SHAPE)
    ours, plain = cpu_seconds_in_turn(
        lambda: bias_field.correct_bias_field(image), lambda: plain_n4(image), repeats=2
    )
    yield Row("N4 against plain SimpleITK", plain / ours)
    block = middle(image, DENOISED_SHAPE)
    denoising.denoise(block[:8, :8, :8])  # compiled before it is timed
    ours, plain = cpu_seconds_in_turn(
        lambda: denoising.denoise(block), lambda: plain_nlmeans(block), repeats=2
    )
    yield Row("non-local means against a plain implementation with numpy", plain / ours)


def plain_n4(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the image corrected as SimpleITK's example does, with the program's settings."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    full = sitk.GetImageFromArray(image.T)
    mask = sitk.OtsuThreshold(full, 0, 1, bias_field.OTSU_BINS)
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations(bias_field.ITERATIONS_BY_LEVEL)
    n4.SetConvergenceThreshold(bias_field.CONVERGENCE_THRESHOLD)
    n4.SetBiasFieldFullWidthAtHalfMaximum(bias_field.BIAS_FIELD_FWHM)
    n4.SetWienerFilterNoise(bias_field.WIENER_NOISE)
    n4.SetNumberOfControlPoints(bias_field.CONTROL_POINTS)
    shrink = [bias_field.SHRINK_FACTOR] * 3
    n4.Execute(sitk.Shrink(full, shrink), sitk.Shrink(mask, shrink))
    return np.asarray(sitk.GetArrayFromImage(full / sitk.Exp(n4.GetLogBiasFieldAsImage(full)))).T


def plain_nlmeans(image: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the image denoised by one pass of array operations for each neighbour; at the border, the image wraps."""
    voxels = image.astype(np.float64)
    noise = denoising.noise_variance(image)
    mean = ndimage.uniform_filter(voxels, 3)
    variance = (ndimage.uniform_filter(voxels**2, 3) - mean**2) * 27 / 26
    total, weights, largest = np.zeros_like(voxels), np.zeros_like(voxels), np.zeros_like(voxels)
    reach = range(-denoising.SEARCH_RADIUS, denoising.SEARCH_RADIUS + 1)
    for shift in ((x, y, z) for x in reach for y in reach for z in reach if (x, y, z) != (0, 0, 0)):
        there, mean_there, variance_there = (np.roll(a, shift, (0, 1, 2)) for a in (voxels, mean, variance))
        with np.errstate(divide="ignore", invalid="ignore"):
            alike = _near_one(mean / mean_there, denoising.MEAN_RATIO)
            alike &= _near_one(variance / variance_there, denoising.VARIANCE_RATIO)
        distance = ndimage.uniform_filter((voxels - there) ** 2, 3)
        weight = np.where(alike, np.exp(-distance / (2 * denoising.BETA * noise)), 0)
        total += weight * there
        weights += weight
        np.maximum(largest, weight, out=largest)
    return np.where(weights > 0, (total + largest * voxels) / np.maximum(weights + largest, 1e-300), voxels)


def _near_one(ratio: NDArray[np.float64], least: float) -> NDArray[np.bool_]:
    return (ratio > least) & (ratio < 1 / least)
