"""Lesions that a scan itself shows, taken out of it: real lesions that appear or vanish between two times.

After the time-point synthesis of Kamraoui et al. (Frontiers in Neuroimaging 2022). Pure functions; arrays are (x, y, z),
1 mm voxels.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lesionwise.simulation.anatomy import Anatomy
from lesionwise.simulation.lesions import SMALLEST_MM3
from lesionwise.simulation.places import DARKEST_TISSUE

BRIGHTEST_HEALTHY = 1.2
"""In units of the white-matter peak; what is darker, and no fluid, is what the place of a lesion is filled with."""

HALO_VOXELS = 2
"""Around the outline of a lesion, where it still brightens its surroundings."""

SURROUNDINGS_MM = 4.0
"""How far around it the tissue counts that a lesion is filled with: the deviation of a Gaussian."""

LARGEST_MM3 = 1000.0
"""What was there before larger lesions is anybody's guess. Those below SMALLEST_MM3 are bits of an outline."""


@dataclass(frozen=True)
class RealLesions:
    """Those of the lesions of a scan that are there at one time only.

    Attributes:
        shown: the scan, float32.
        healthy: the scan without any of them, float32.
        appeared, vanished: bool.
    """

    shown: np.ndarray
    healthy: np.ndarray
    appeared: np.ndarray
    vanished: np.ndarray

    def image(self, lesions: np.ndarray) -> np.ndarray:
        """Return the scan with these (bool) of the lesions alone."""
        if not lesions.any():  # as in most heads
            return self.healthy
        return np.where(_with_halo(lesions), self.shown, self.healthy)


def choose(
    anatomy: Anatomy, rng: np.random.Generator, appeared_share: float, vanished_share: float
) -> RealLesions:
    """Draw which of the lesions that the scan shows appear and which vanish between the times."""
    nothing = np.zeros_like(anatomy.old_lesions)
    unchanged = RealLesions(anatomy.flair, anatomy.flair, nothing, nothing)
    if not anatomy.old_lesions.any():
        return unchanged
    labels, count = ndimage.label(anatomy.old_lesions)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    fate = rng.random(count + 1)
    fate[(sizes < SMALLEST_MM3) | (sizes > LARGEST_MM3) | (np.arange(count + 1) == 0)] = 1
    appeared = (fate < appeared_share)[labels]
    vanished = (fate > 1 - vanished_share)[labels] & (fate < 1)[labels]
    if not (appeared | vanished).any():
        return unchanged
    healthy = filled(anatomy.flair, appeared | vanished, anatomy.old_lesions, rng)
    return RealLesions(anatomy.flair, healthy, appeared, vanished)


def filled(
    image: np.ndarray, lesions: np.ndarray, all_lesions: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return the image with lesions (bool) made as dark as the healthy tissue around them; nothing gets brighter."""
    result = image.copy()
    labels, _ = ndimage.label(_with_halo(lesions))
    for number, found in enumerate(ndimage.find_objects(labels), start=1):
        margin = int(2.5 * SURROUNDINGS_MM)
        box = tuple(slice(max(0, axis.start - margin), axis.stop + margin) for axis in found)
        under = image[box]
        healthy = (under > DARKEST_TISSUE) & (under < BRIGHTEST_HEALTHY) & ~_with_halo(all_lesions[box])
        around = healthy_around(under, healthy, SURROUNDINGS_MM)
        grain = ndimage.gaussian_filter(rng.standard_normal(under.shape), 0.8)
        texture = under[healthy].std() if healthy.any() else 0.0
        target = around + 0.5 * texture * grain / grain.std()
        # Inside the halo wholly, and gone at its border.
        share = np.clip(
            ndimage.gaussian_filter((labels[box] == number).astype(np.float32), 0.7) * 2 - 1, 0, 1
        )
        share *= ~(all_lesions[box] & ~lesions[box])  # its neighbours stay as they are
        result[box] += share * np.minimum(target - under, 0)
    return result


def healthy_around(image: np.ndarray, healthy: np.ndarray, sigma_voxels: float) -> np.ndarray:
    """Return the mean of the healthy tissue (bool) around each voxel, weighed by a Gaussian; 1 where there is none."""
    weight = ndimage.gaussian_filter(healthy.astype(np.float32), sigma_voxels)
    mean = ndimage.gaussian_filter(image * healthy, sigma_voxels) / np.maximum(weight, 1e-3)
    return np.asarray(np.where(weight > 1e-3, mean, np.float32(1)))


def _with_halo(lesions: np.ndarray) -> np.ndarray:
    """Return lesions (bool) and what they brighten around them."""
    return np.asarray(ndimage.binary_dilation(lesions, np.ones((3, 3, 3)), iterations=HALO_VOXELS))
