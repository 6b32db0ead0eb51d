"""How far two scans that should lie on each other are still apart inside the brain.

The rigid motion that mutual information would still make, from where the scans are, at 2 mm; of it the mean displacement in
the brain. New lesions and atrophy move no edge of most of the brain, so that they hardly change it.
"""

from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from scipy import ndimage

from lesionwise.errors import PreprocessingError
from lesionwise.preprocessing.alignment import descend, itk_image
from lesionwise.preprocessing.itk_threads import itk_threads

SHARE = 0.1
"""Of the inner brain's voxels that are looked at: with twice as many, the result is the same to 0.1 mm."""

EDGE_VOXELS = 3
"""Of 2 mm, left out at the brain's edge: both images are cut out with one mask, whose edge does not move."""

LEAST_INNER_ML = 100.0
"""With less than this inside the edge nothing is measured."""

Floats = NDArray[np.floating[Any]]


def registration_residual_mm(time1: Floats, time2: Floats, brain: NDArray[np.bool_]) -> float | None:
    """Return by how many mm, on average over the brain, time 2 is still beside time 1.

    All (x, y, z) of 1 mm voxels. None: the brain is too small, or the images hold nothing to compare.
    """
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    coarse = _halved(brain.astype(np.float32)) > 0.5
    inner = ndimage.binary_erosion(coarse, iterations=EDGE_VOXELS)
    if inner.sum() * 8 / 1000 < LEAST_INNER_ML:
        return None
    fixed, moving = (itk_image(_halved(image), affine) for image in (time1, time2))
    mask = sitk.Cast(itk_image(inner.astype(np.float32), affine), sitk.sitkUInt8)
    points = np.argwhere(coarse[::2, ::2, ::2]) * 4.0
    centre = points.mean(axis=0)
    try:
        start = sitk.Euler3DTransform(centre.tolist(), 0.0, 0.0, 0.0, (0.0, 0.0, 0.0))
        with itk_threads(1):  # the same result with any number of threads
            motion, _ = descend(fixed, moving, mask, SHARE, start)
    except PreprocessingError:  # one image is constant, or they were driven apart
        return None
    turned = (points - centre) @ np.array(motion.GetMatrix()).reshape(3, 3).T + centre
    apart = turned + np.array(motion.GetTranslation()) - points
    return float(np.linalg.norm(apart, axis=1).mean())


def _halved(image: Floats) -> NDArray[np.float32]:
    """Return the means of blocks of 2 x 2 x 2 voxels; an odd last plane is left out."""
    x, y, z = (size // 2 for size in image.shape)
    blocks = image[: 2 * x, : 2 * y, : 2 * z].reshape(x, 2, y, 2, z, 2)
    means: NDArray[np.float32] = blocks.mean(axis=(1, 3, 5), dtype=np.float32)
    return means
