"""Synthetic lesions: shapes, places, and drawing them into an image. Pure functions; arrays are (x, y, z), 1 mm voxels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.special import expit

SMALLEST_MM3 = 8.0
"""Smaller lesions cannot be told from noise in scans of common resolution."""

RIM_THICKNESS_MM = (0.8, 3.0)
RIM_LENGTH_MM = (4.0, 20.0)
RIM_GROWTH_MM = (0.5, 2.0)
"""Of rims along the ventricles: as they are before they grow, and by how much they get thicker and longer each way."""

SHAPE_MARGIN = 6
"""Voxels of room around a real shape for its soft edge, also where it is scaled down."""


@dataclass(frozen=True)
class SyntheticLesion:
    """One lesion at its place.

    Attributes:
        box: three slices into the image.
        fraction: float32 in [0, 1] over the box: how much of each voxel is lesion (soft edge).
        brightness: intensity of the lesion's core, in units of the white-matter peak.
    """

    box: tuple[slice, slice, slice]
    fraction: np.ndarray
    brightness: float


def blob(
    rng: np.random.Generator, volume_mm3: float, softness_mm: float = 0.7, elongation: float = 0.22
) -> np.ndarray:
    """Return a random irregular blob as float32 fractions in a tight box: an ellipsoid whose radius is uneven.

    `softness_mm` is about the width of its edge, `elongation` the standard deviation of the logarithm of its axes.
    """
    radius = (3 * volume_mm3 / (4 * np.pi)) ** (1 / 3)
    axes = np.exp(rng.normal(0, elongation, 3))
    axes *= radius / np.prod(axes) ** (1 / 3)
    half = np.ceil(axes.max() * 1.4 + 2 * softness_mm).astype(int)
    points = np.stack(np.meshgrid(*[np.arange(-half, half + 1)] * 3, indexing="ij")) - rng.uniform(
        -0.5, 0.5, (3, 1, 1, 1)
    )
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turned = np.einsum("ij,jxyz->ixyz", turn, points)
    distance = np.sqrt(sum((turned[k] / axes[k]) ** 2 for k in range(3)))
    noise = ndimage.gaussian_filter(rng.standard_normal(distance.shape), max(radius / 2, 0.8))
    noise /= noise.std() + 1e-9
    inside_mm = (1 - distance + rng.uniform(0, 0.22) * noise) * radius
    fraction = 1 / (1 + np.exp(-np.clip(inside_mm / (softness_mm / 2.2), -30, 30)))
    fraction[fraction < 0.02] = 0
    return np.asarray(fraction, dtype=np.float32)


def from_shape(
    rng: np.random.Generator, shape: np.ndarray, volume_mm3: float, softness_mm: float = 0.6
) -> np.ndarray:
    """Return a real lesion shape (bool) mirrored, turned by right angles, scaled and softened.

    It is scaled towards `volume_mm3` between 0.4 and 1.3 along each axis: a shape has no more detail than its voxels.
    """
    for axis in range(3):
        if rng.random() < 0.5:
            shape = np.flip(shape, axis)
    shape = np.rot90(shape, int(rng.integers(4)), axes=(0, 1))
    scales = (volume_mm3 / max(shape.sum(), 1)) ** (1 / 3) * rng.uniform(0.85, 1.18, 3)
    scaled = ndimage.zoom(
        np.pad(shape, SHAPE_MARGIN).astype(np.float32),
        np.clip(scales, 0.4, 1.3),
        order=1,
        grid_mode=True,
        mode="grid-constant",
    )
    soft = ndimage.gaussian_filter(scaled, softness_mm)
    # A thin shape made small would fade: its core is lesion all the same.
    return np.asarray(soft / max(soft.max(), 0.05), dtype=np.float32)


def rim(
    rng: np.random.Generator, ventricle: np.ndarray, centre: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return a rim along the wall of a ventricle as float32 fractions: as it was before it grew, and as it is.

    `ventricle`: bool, the fluid in a box around the rim; `centre`: the voxel of the box that it lies around.
    """
    from_wall_mm = ndimage.distance_transform_edt(~ventricle)
    points = np.meshgrid(
        *[np.arange(n) - c for n, c in zip(ventricle.shape, centre, strict=True)], indexing="ij"
    )
    along_mm = np.sqrt(sum(axis.astype(np.float32) ** 2 for axis in points))
    uneven = ndimage.gaussian_filter(rng.standard_normal(ventricle.shape), 2.5)
    uneven *= rng.uniform(0, 0.3) / uneven.std()
    thick_mm, long_mm = rng.uniform(*RIM_THICKNESS_MM), np.exp(rng.uniform(*np.log(RIM_LENGTH_MM))) / 2
    softness_mm = rng.uniform(0.3, 0.9)
    thicker_mm, longer_mm = rng.uniform(*RIM_GROWTH_MM, 2)
    found = []
    for thickness, half in ((thick_mm, long_mm), (thick_mm + thicker_mm, long_mm + longer_mm)):
        across = (thickness * (1 + uneven) - from_wall_mm) / softness_mm
        along = (half * (1 + uneven) - along_mm) / 1.5
        fraction = expit(2 * across) * expit(2 * along) * ~ventricle
        found.append(np.where(fraction < 0.02, 0, fraction).astype(np.float32))
    return found[0], found[1]


def random_volume_mm3(rng: np.random.Generator, median_mm3: float = 40.0, spread: float = 1.4) -> float:
    """Return a lesion volume: log-normal, small ones (3 to 40 mm3) are the commonest, a few are over a millilitre."""
    return float(np.clip(np.exp(rng.normal(np.log(median_mm3), spread)), SMALLEST_MM3, 6000.0))


def place(
    fraction: np.ndarray, centre: Sequence[int], shape: Sequence[int], brightness: float
) -> SyntheticLesion | None:
    """Put a lesion's box around a voxel; what lies outside the image is cut. None where nothing is left."""
    box, cut = [], []
    for c, n, size in zip(centre, shape, fraction.shape, strict=True):
        start = int(c) - size // 2
        low, high = max(start, 0), min(start + size, n)
        if high <= low:
            return None
        box.append(slice(low, high))
        cut.append(slice(low - start, high - start))
    return SyntheticLesion((box[0], box[1], box[2]), fraction[tuple(cut)], brightness)


def draw(
    image: np.ndarray, lesions: Sequence[SyntheticLesion], rng: np.random.Generator, texture: float = 0.04
) -> None:
    """Draw lesions into an image in place: each voxel moves towards the lesion's brightness by its fraction.

    Only upwards: a lesion never darkens what is already brighter.
    """
    for lesion in lesions:
        under = image[lesion.box]
        target = lesion.brightness * (1 + texture * rng.standard_normal(under.shape).astype(np.float32))
        under += lesion.fraction * np.clip(target - under, 0, None)


def fractions(lesions: Sequence[SyntheticLesion], shape: Sequence[int]) -> np.ndarray:
    """Return the float32 map of how much of each voxel is lesion: the largest fraction of any."""
    total = np.zeros(tuple(shape), dtype=np.float32)
    for lesion in lesions:
        np.maximum(total[lesion.box], lesion.fraction, out=total[lesion.box])
    return total
