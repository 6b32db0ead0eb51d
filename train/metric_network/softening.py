"""Masks made to look like probability maps: blurred, with small random intensity changes (paper, section 2.2).

In three parts: parameters, how they are drawn, how they are applied.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

MARGIN = 0.01
"""How near to 0.5 a softened voxel may come: softening moves none across the threshold."""

Mask = NDArray[np.bool_]
Map = NDArray[np.float32]


@dataclass(frozen=True)
class Softening:
    """How a mask is softened.

    Attributes:
        sigma_voxels: of the Gaussian blur.
        peak: what the blurred map is multiplied by.
        jitter: standard deviation of the voxel-wise change, as a share of the value.
        floor: value of the background.
        faint_peak: peak of what a network nearly found, below 0.5.
        seed: of the voxel-wise changes.
    """

    sigma_voxels: float
    peak: float
    jitter: float
    floor: float
    faint_peak: float
    seed: int


def draw_softening(rng: np.random.Generator) -> Softening:
    """Draw how a mask is softened; the paper names blur and small intensity changes but no number."""
    return Softening(
        sigma_voxels=float(rng.uniform(0.3, 1.2)),
        peak=float(rng.uniform(0.8, 1.5)),
        jitter=float(rng.uniform(0, 0.1)),
        floor=float(rng.uniform(0, 0.02) * (rng.random() < 0.5)),
        faint_peak=float(rng.uniform(0.05, 0.48)),
        seed=int(rng.integers(2**32)),
    )


def soften(mask: Mask, faint: Mask, softening: Softening) -> Map:
    """Return a map in [0, 1] of a mask (x, y, z), which at the threshold 0.5 gives the very mask again.

    `faint` marks what shows below the threshold: a lesion that a network sees but does not call.
    """
    shown = np.maximum(mask * np.float32(softening.peak), faint * np.float32(softening.faint_peak))
    blurred = ndimage.gaussian_filter(shown, softening.sigma_voxels, truncate=3.0)
    noise = np.random.default_rng(softening.seed).standard_normal(mask.shape, dtype=np.float32)
    soft = blurred * (1 + np.float32(softening.jitter) * noise) + np.float32(softening.floor)
    low = np.where(mask, np.float32(0.5 + MARGIN), np.float32(0))
    high = np.where(mask, np.float32(1), np.float32(0.5 - MARGIN))
    return np.asarray(np.clip(soft, low, high), dtype=np.float32)
