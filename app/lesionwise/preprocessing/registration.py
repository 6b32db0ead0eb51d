"""The rigid motion of the head between two scans.

Mutual information inside the head, coarse to fine: a search over rotations at 8 mm finds the valley, descent at 8, 4,
2 and 1 mm its ground. A gate then asks whether the scans are alike.
"""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from scipy import ndimage

from lesionwise.errors import PreprocessingError
from lesionwise.preprocessing.alignment import (
    descend,
    head_mask,
    itk_image,
    mask_like,
    matrix_of,
    rigid_search,
    with_spacing,
)
from lesionwise.preprocessing.itk_threads import itk_threads
from lesionwise.volume import Volume

LEVELS = ((4.0, 1.0), (2.0, 0.2), (1.0, 0.05))
"""Voxel size in mm of each level, and the share of the head's voxels that is looked at."""

SMALLEST_SIMILARITY = 0.5
"""Two real pairs have 0.96 (one protocol) and 0.71 (two protocols) where they lie right; 10 degrees or 5 mm beside it
the latter has less than 0.5. Heads of two patients are alike to 0.6 to 0.7: that is not told apart."""
SIMILARITY_MM = 2.0
STRUCTURE_SIGMAS_MM = (2.0, 8.0)
"""Similarity compares structures between these two sizes: not noise, not shading."""

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Registration:
    """How the head moved: `matrix` (4 x 4, mm) brings a point of time 1 to where it is at time 2."""

    matrix: Matrix
    similarity: float

    def as_json(self) -> dict[str, object]:
        """Return what a report holds of it."""
        cosine = (np.trace(self.matrix[:3, :3]) - 1) / 2
        return {
            "rotation_degrees": round(float(np.degrees(np.arccos(np.clip(cosine, -1, 1)))), 2),
            "similarity": round(self.similarity, 3),
            "time1_to_time2_mm": [[round(float(x), 6) for x in row] for row in self.matrix],
        }


def register(time1: Volume, time2: Volume, threads: int = 1) -> Registration:
    """Return the rigid motion from time 1 to time 2, whole-head scans on any two grids.

    Raises PreprocessingError where the two scans are not alike after it.
    """
    with itk_threads(threads):
        fixed, moving = (itk_image(scan.data, scan.affine) for scan in (time1, time2))
        head, moving_head = head_mask(fixed), head_mask(moving)
        transform = rigid_search(fixed, moving, head, moving_head)
        for level_mm, share in LEVELS:
            fixed_level = with_spacing(fixed, level_mm)
            mask = mask_like(head, fixed_level)
            transform, _ = descend(fixed_level, with_spacing(moving, level_mm), mask, share, transform)
        found = Registration(matrix_of(transform), similarity(fixed, moving, transform))
    if found.similarity < SMALLEST_SIMILARITY:
        raise PreprocessingError(
            f"registration failed: after it the scans are alike to {found.similarity:.2f} only, "
            f"{SMALLEST_SIMILARITY} is needed; check that both show the whole head of one patient, "
            "or bring them on one grid with another tool"
        )
    return found


def similarity(fixed: sitk.Image, moving: sitk.Image, transform: sitk.Transform) -> float:
    """Return how well the structures of two images agree inside the head, from -1 to 1 (1: equal).

    It is the correlation of what remains of both between a fine and a coarse blur.
    """
    first, second = with_spacing(fixed, SIMILARITY_MM), with_spacing(moving, SIMILARITY_MM)
    everywhere = sitk.Image(second.GetSize(), sitk.sitkUInt8) + 1
    everywhere.CopyInformation(second)
    head, moved_head, seen = (
        sitk.GetArrayFromImage(mask) > 0
        for mask in (
            mask_like(head_mask(fixed), first),
            mask_like(head_mask(moving), first, transform),
            mask_like(everywhere, first, transform),
        )
    )
    fine, coarse = (sigma / SIMILARITY_MM for sigma in STRUCTURE_SIGMAS_MM)
    inside = (head | moved_head) & ndimage.binary_erosion(seen, iterations=round(coarse))
    if inside.sum() < 2:
        return 0.0
    images = (
        sitk.GetArrayFromImage(image)
        for image in (first, sitk.Resample(second, first, transform, sitk.sitkLinear))
    )
    structures = [
        (ndimage.gaussian_filter(image, fine) - ndimage.gaussian_filter(image, coarse))[inside]
        for image in images
    ]
    if min(float(structure.std()) for structure in structures) == 0.0:
        return 0.0
    return float(np.corrcoef(*structures)[0, 1])
