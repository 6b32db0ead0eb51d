"""Lesions: the connected components of a mask, their sizes and the table that `segment` reports.

A lesion is what animaSegPerfAnalyzer takes for one: a component under face connectivity (6 neighbours) of
strictly more than 3 mm3. Masks are indexed (x, y, z).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist
from scipy.special import logit

MINIMAL_VOLUME_MM3 = 3.0
"""A lesion is larger than this (Commowick et al., Sci. Rep. 2018, and the tool's default)."""

SUREST = 1e-6
"""A voxel's probability counts no nearer to 0 or 1, so that no single one outweighs all others of its lesion."""

Spacing = tuple[float, float, float]
"""The size of a voxel in mm along x, y, z."""

Box = tuple[slice, ...]

AnyFloat = TypeVar("AnyFloat", bound=np.floating[Any])


@dataclass(frozen=True)
class OperatingPoint:
    """Which probabilities are lesions: voxels above `threshold`, in components that are surer than `certainty` as a whole.

    Both in [0, 1). A component is as sure as the mean log odds of its voxels: what the network doubts throughout is left
    out, however far a single voxel reaches. A certainty that is not higher than the threshold asks for nothing more.
    """

    threshold: float
    certainty: float = 0.0

    def but_for(self, threshold: float | None, certainty: float | None) -> "OperatingPoint":
        """Return this point with what is not None instead of its own."""
        return OperatingPoint(
            self.threshold if threshold is None else threshold,
            self.certainty if certainty is None else certainty,
        )


@dataclass(frozen=True)
class Lesion:
    """One lesion, as `segment` reports it.

    `id`: 1 is the largest. `centre_mm`: the mean of its voxel centres in world coordinates (right, anterior,
    superior). `longest_diameter_mm`: the largest distance between two of its voxel centres. `confidence`: the probability
    that it is a true one, where the weights come with what tells it.
    """

    id: int
    volume_mm3: float
    centre_mm: tuple[float, float, float]
    mean_probability: float
    max_probability: float
    longest_diameter_mm: float
    voxels: int
    confidence: float | None = None


def label_lesions(
    mask: NDArray[Any], spacing_mm: Spacing, minimal_volume_mm3: float = MINIMAL_VOLUME_MM3
) -> NDArray[np.int32]:
    """Number the lesions of a mask (x, y, z) that are strictly larger than the minimum; all else is 0.

    Numbers fall with the voxel count; of equals, the one whose first voxel comes first (x fastest, then y,
    then z) is first. Returns an array of the mask's shape.
    """
    mask = np.asarray(mask, dtype=np.bool_)
    labels = np.zeros(mask.shape, dtype=np.int32)
    box = bounding_box(mask)
    if box is None:
        return labels
    cropped = np.ascontiguousarray(mask[box])
    components, count = ndimage.label(cropped)
    voxels = np.unravel_index(np.flatnonzero(cropped), cropped.shape)
    component = components[voxels]

    sizes = np.bincount(component, minlength=count + 1)
    first = np.full(count + 1, cropped.size)
    np.minimum.at(first, component, np.ravel_multi_index(voxels, cropped.shape, order="F"))
    kept = np.flatnonzero(sizes >= minimal_voxels(spacing_mm, minimal_volume_mm3))
    kept = kept[np.lexsort((first[kept], -sizes[kept]))]

    number = np.zeros(count + 1, dtype=np.int32)
    number[kept] = np.arange(1, len(kept) + 1)
    labels[box][voxels] = number[component]
    return labels


def remove_small_lesions(
    mask: NDArray[Any], spacing_mm: Spacing, minimal_volume_mm3: float = MINIMAL_VOLUME_MM3
) -> NDArray[np.bool_]:
    """Return the mask (x, y, z) without the components that are not strictly larger than the minimum."""
    return label_lesions(mask, spacing_mm, minimal_volume_mm3) > 0


def find_lesions(
    probability: NDArray[np.floating[Any]],
    spacing_mm: Spacing,
    point: OperatingPoint,
    minimal_volume_mm3: float = MINIMAL_VOLUME_MM3,
) -> NDArray[np.bool_]:
    """Return the mask (x, y, z) of the lesions in a map of probabilities (x, y, z)."""
    labels = label_lesions(probability > point.threshold, spacing_mm, minimal_volume_mm3)
    inside = labels > 0
    if point.certainty > point.threshold:
        lesion = labels[inside]
        mean = np.bincount(lesion, log_odds(probability[inside])) / np.maximum(np.bincount(lesion), 1)
        inside[inside] = (mean > log_odds(np.array([point.certainty])))[lesion]
    return inside


def log_odds(probability: NDArray[AnyFloat]) -> NDArray[AnyFloat]:
    """Return the log odds of probabilities (any shape); those nearer to 0 or 1 than SUREST count as that near."""
    return np.asarray(logit(np.clip(probability, SUREST, 1 - SUREST)))


def lesion_table(
    mask: NDArray[Any],
    probabilities: NDArray[np.floating[Any]],
    affine: NDArray[np.floating[Any]],
    spacing_mm: Spacing,
    minimal_volume_mm3: float = MINIMAL_VOLUME_MM3,
    confidence: Callable[[float, float], float] | None = None,
) -> list[Lesion]:
    """Describe each lesion of a mask, the largest first.

    `mask`, `probabilities`: (x, y, z). `affine`: 4 x 4, voxel indices to mm (right, anterior, superior).
    `confidence`: how sure it is that a lesion of so many mm3 with such a mean probability is one.
    """
    labels = label_lesions(mask, spacing_mm, minimal_volume_mm3)
    table = []
    for lesion, box in enumerate(ndimage.find_objects(labels), start=1):
        inside = labels[box] == lesion
        voxels = np.argwhere(inside) + [axis.start for axis in box]
        probability = probabilities[box][inside].astype(np.float64)
        x, y, z = affine[:3, :3] @ voxels.mean(axis=0) + affine[:3, 3]
        volume_mm3, mean = float(len(voxels) * math.prod(spacing_mm)), float(probability.mean())
        table.append(
            Lesion(
                id=lesion,
                volume_mm3=volume_mm3,
                centre_mm=(float(x), float(y), float(z)),
                mean_probability=mean,
                max_probability=float(probability.max()),
                longest_diameter_mm=longest_diameter(voxels * np.asarray(spacing_mm)),
                voxels=len(voxels),
                confidence=confidence(volume_mm3, mean) if confidence else None,
            )
        )
    return table


def minimal_voxels(spacing_mm: Spacing, minimal_volume_mm3: float) -> int:
    """Return the least number of voxels whose volume is strictly larger than the minimum, as the tool counts."""
    return math.floor(minimal_volume_mm3 / math.prod(spacing_mm)) + 1


def longest_diameter(points_mm: NDArray[np.float64]) -> float:
    """Return the largest distance between two voxel centres (n, 3) of a face-connected lesion."""
    extent = np.ptp(points_mm, axis=0)
    varying = extent > 0
    if varying.sum() < 2:  # one voxel or a line along an axis
        return float(extent.sum())
    # The farthest two are corners of the convex hull. Steps along each of the varying axes are in the
    # lesion, so that the hull in these axes is never flat.
    points_mm = points_mm[:, varying]
    return float(pdist(points_mm[ConvexHull(points_mm).vertices]).max())


def bounding_box(mask: NDArray[np.bool_]) -> Box | None:
    """Return the slices (x, y, z) that just hold the mask's voxels, or None where there are none."""
    box = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        inside = np.flatnonzero(mask.any(axis=others))
        if len(inside) == 0:
            return None
        box.append(slice(int(inside[0]), int(inside[-1]) + 1))
    return tuple(box)
