"""Signs that a case is not what the program was made for: what is told in `warnings`, never a reason to stop.

Pure functions on arrays (x, y, z). Each threshold stands with what was measured: "real" are the FLAIRs of the University of
Ljubljana (two pairs, three single scans, three skull-stripped ones) and a 3D FLAIR; "synthetic" are phantoms and the cases
that training draws. Intensities are in units of the commonest one in the brain (`preprocessing.normalization`).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lesionwise.errors import PreprocessingError
from lesionwise.lesions import bounding_box
from lesionwise.preprocessing.brain_extraction import PLAUSIBLE_BRAIN_ML
from lesionwise.preprocessing.normalization import kde_peak
from lesionwise.sharpness import blur_to_match

Floats = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]

DARKEST_LOWER_QUARTILE = 0.74
"""In FLAIR, grey matter is no darker than white, and only fluid is dark: real lower quartiles are 0.82 to 0.95. In T1 grey
matter is dark: 0.57 to 0.66. Half-way between."""

LEAST_SPREAD = 0.35
"""Between the 5th and the 95th percentile of the brain. Real scans have 0.51 to 1.03, synthetic ones 0.45 and more; the real
pairs with 300 added to each voxel (their own are about 300) 0.31 to 0.37, with 1024 0.14 to 0.16. An offset hides what is
brighter."""

MOST_NEGATIVE = 0.01
"""Share of the brain's voxels, as read. Real scans have none; of one that was standardised (z-scores), many are."""

DARK, BRIGHT, DEEP_MM, MOST_DEEP_BRIGHT = 0.6, 1.6, 15.0, 0.006
"""Deeper than this in the brain lie the ventricles. Of the real voxels there at most 0.0014 are so bright (few lesions are),
in T2, where fluid is bright, 0.089 to 0.134, and in template heads with bright fluid 0.012 and more. Where there are many
lesions, more may be bright, but then dark fluid is there, too: 0.009 to 0.14 of the real voxels."""

MOST_NOISE = 0.10
"""Standard deviation. Real scans have 0.021 to 0.074, phantoms up to 0.03; training draws up to 0.05."""

THICKEST_MM, COARSEST_IN_PLANE_MM = 5.0, 1.7
"""The thickest slices and the widest blur within them that training draws; real voxels are up to 3.3 and 1.0 mm."""

LEAST_CORRELATION = 0.5
"""Of the two time points over the brain. Real pairs have 0.70 (two protocols, many changes) and 0.94, synthetic ones 0.60 and
more; two different patients, rigidly registered, at most 0.35."""

LARGEST_RESIDUAL_MM = 2.0
"""Mean displacement in the brain, two voxels of the network. Real pairs that were registered have 0.2 (one protocol) and 0.3
(two); the synthetic ones that training draws have 1.0 in the middle, and 1 of 100 more than 1.8."""

LARGEST_BLUR_MM = 1.0
"""Gaussian standard deviation along one axis that makes time 2 as smooth as time 1. Real pairs need 0.5 (one protocol) and 0.4
(two). Of the 20 cases without change of `train.synthetic_validation` the 4 that need more had 24 of 36 false lesions."""

RIM_VOXELS = 3
"""Of the brain, where masking and not the scanner makes the edges."""


def implausible_scan(
    name: str, scan: Floats, brain: Mask, spacing_mm: tuple[float, float, float]
) -> Iterator[str]:
    """Yield what is odd in a scan as it was read, before anything was corrected; `name` begins each line."""
    if (noise := relative_noise(scan, brain, spacing_mm)) > MOST_NOISE:
        yield (
            f"{name} is noisy: {100 * noise:.0f} % of the brain's intensity, above {100 * MOST_NOISE:.0f} %; "
            "small lesions may be missed and specks taken for lesions"
        )
    if (share := float((scan[brain] < 0).mean())) > MOST_NEGATIVE:
        yield (
            f"{name} is negative in {100 * share:.0f} % of the brain: its intensities were standardised or lost an offset, "
            "and cannot be brought to one scale; give the scan as the scanner wrote it"
        )


def implausible_resolution(name: str, spacing_mm: tuple[float, float, float]) -> Iterator[str]:
    """Yield what is odd in the size of a scan's voxels."""
    _, middle, thickest = sorted(spacing_mm)
    if thickest > THICKEST_MM or middle > COARSEST_IN_PLANE_MM:
        size = " x ".join(f"{mm:.2g}" for mm in spacing_mm)
        yield (
            f"{name} is coarse: voxels of {size} mm; slices up to {THICKEST_MM:g} mm with pixels up to "
            f"{COARSEST_IN_PLANE_MM:g} mm are what the network knows"
        )


def implausible_brain(brain: Mask, voxel_mm3: float) -> Iterator[str]:
    """Yield what is odd in a brain mask: one that is found passes a gate that knows this, one that is given does not."""
    volume_ml = float(brain.sum()) * voxel_mm3 / 1000
    lowest, highest = PLAUSIBLE_BRAIN_ML
    if not lowest <= volume_ml <= highest:
        yield (
            f"the brain mask holds {volume_ml:.0f} ml, which no brain has ({lowest:.0f} to {highest:.0f} ml); "
            "check that it is the brain and nothing else"
        )


def implausible_contrast(name: str, image: Floats, brain: Mask) -> Iterator[str]:
    """Yield what is odd in the contrast of a scan that is bias-corrected, normalised and on the network's 1 mm grid."""
    darkest, quartile, brightest = (float(value) for value in np.percentile(image[brain], (5, 25, 95)))
    if brightest - darkest < LEAST_SPREAD:
        yield (
            f"{name} has little contrast: most of the brain lies within {brightest - darkest:.2f} of the commonest intensity, "
            f"below {LEAST_SPREAD:g}; was a number added to all voxels? Then lesions are missed; give the scan as the scanner "
            "wrote it"
        )
    if quartile < DARKEST_LOWER_QUARTILE:
        yield (
            f"{name} does not look like FLAIR: much of the brain is dark (lower quartile {quartile:.2f} of the commonest "
            f"intensity, below {DARKEST_LOWER_QUARTILE:g}), as in T1-weighted images"
        )
    dark, share = deep_shares(image, brain)
    if share > max(MOST_DEEP_BRIGHT, dark):
        yield (
            f"{name} does not look like FLAIR: {100 * share:.1f} % of the inner brain are very bright; is the signal of "
            "fluid not suppressed, as in T2-weighted images?"
        )


def implausible_pair(
    time1: Floats, time2: Floats, brain: Mask, residual_mm: float | None = None
) -> Iterator[str]:
    """Yield what is odd in two normalised scans beside each other, on the network's 1 mm grid.

    `residual_mm`: how far they are apart, if it is known.
    """
    if (found := correlation(time1, time2, brain)) < LEAST_CORRELATION:
        yield (
            f"time 1 and time 2 look unlike each other (correlation {found:.2f} over the brain, below {LEAST_CORRELATION:g}): "
            "are they of one patient, and registered?"
        )
    if residual_mm is not None and residual_mm > LARGEST_RESIDUAL_MM:
        yield (
            f"time 1 and time 2 do not lie on each other: {residual_mm:.1f} mm apart on average in the brain, above "
            f"{LARGEST_RESIDUAL_MM:g} mm; edges may be taken for lesions; look at both, and see whether --register helps"
        )
    blur_mm = blur_to_match(time2, time1, ndimage.binary_erosion(brain, iterations=RIM_VOXELS))
    if max(blur_mm) > LARGEST_BLUR_MM:
        yield (
            f"time 2 is much sharper than time 1: only a blur of {max(blur_mm):.1f} mm makes them alike, above "
            f"{LARGEST_BLUR_MM:g} mm; what only a sharper scan shows may be taken for new"
        )


def relative_noise(scan: Floats, brain: Mask, spacing_mm: tuple[float, float, float]) -> float:
    """Return the standard deviation of a scan's noise over the commonest intensity of its brain.

    By pseudo-residuals (Gasser et al., Biometrika 1986; Coupé et al., Medical Image Analysis 2010): the difference of a
    voxel and the mean of its neighbours, scaled to the variance of one voxel; of that the median. Neighbours across
    thick slices are left out: they differ by anatomy. Interpolation to another grid hides noise. 0: nothing to measure.
    """
    inner = ndimage.binary_erosion(brain, iterations=2)
    box = bounding_box(brain)
    if box is None or not inner.any():
        return 0.0
    try:
        commonest = kde_peak(scan[brain])
    except PreprocessingError:
        return 0.0
    image, inner = np.asarray(scan[box], np.float32), inner[box]
    residual, neighbours = np.zeros_like(image), 0
    for axis, mm in enumerate(spacing_mm):
        if mm <= 1.5 * min(spacing_mm):
            # The edges roll around, but the inner brain does not reach them.
            residual += 2 * image - np.roll(image, 1, axis) - np.roll(image, -1, axis)
            neighbours += 2
    residual *= np.sqrt(neighbours / (neighbours + 1)) / neighbours
    return float(1.4826 * np.median(np.abs(residual[inner])) / commonest)


def deep_shares(image: Floats, brain: Mask) -> tuple[float, float]:
    """Return which shares of the brain deeper than DEEP_MM are below DARK and above BRIGHT (of every second 1 mm voxel)."""
    some = (slice(None, None, 2),) * 3
    deep = ndimage.distance_transform_edt(np.pad(brain[some], 1))[1:-1, 1:-1, 1:-1] > DEEP_MM / 2
    if not deep.any():
        return 0.0, 0.0
    inner = image[some][deep]
    return float((inner < DARK).mean()), float((inner > BRIGHT).mean())


def correlation(time1: Floats, time2: Floats, brain: Mask) -> float:
    """Return Pearson's correlation of two images over a mask, intensities above 2 counted as 2; 1 where one is constant."""
    first, second = (np.minimum(image[brain], 2).astype(np.float64) for image in (time1, time2))
    if first.std() == 0 or second.std() == 0:
        return 1.0
    return float(np.corrcoef(first, second)[0, 1])
