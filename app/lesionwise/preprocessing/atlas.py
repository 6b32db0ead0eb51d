"""The brain by an atlas: the ICBM152 head brought onto the scan, for scans on which the learned extraction fails.

As Anima does it (rigid, then affine registration of an atlas), with SimpleITK. The template shows the brain alone, and
a bare brain is easily laid over skull and scalp too; so a skull and a scalp are simulated around it.
"""

from functools import cache
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from scipy import ndimage

from lesionwise.preprocessing.alignment import (
    descend,
    head_mask,
    itk_image,
    mask_like,
    rigid_search,
    with_spacing,
)
from lesionwise.preprocessing.itk_threads import itk_threads
from lesionwise.simulation.anatomy import template_affine, template_maps

WHITE, GREY, FLUID = 1.0, 1.2, 0.3
"""Intensities of FLAIR, roughly: mutual information asks only that tissues differ as they do."""

SHELLS_MM = ((0.0, 2.0, FLUID), (2.0, 7.0, 0.08), (7.0, 13.0, 0.9))
"""Fluid, skull and scalp: distance from the brain from, to, and intensity."""

LEVELS = ((4.0, 1.0), (2.0, 0.1))
"""Voxel size in mm of each level of the affine registration, and the share of the head's voxels looked at."""


def extract_brain_by_atlas(
    data: NDArray[np.floating[Any]], affine: NDArray[np.floating[Any]], threads: int = 1
) -> NDArray[np.bool_]:
    """Return the brain mask of one whole-head scan, on its own grid.

    `data` is indexed (x, y, z) in any orientation; `affine` (4x4, voxels to mm, RAS+) tells which. The mask is
    as good as an affine map of the template can be. Raises PreprocessingError where no head stands out.
    """
    scan = itk_image(data, affine)
    with itk_threads(threads):
        found = sitk.Resample(atlas_head()[1], scan, affine_to_atlas(scan, atlas_head()[0]), sitk.sitkLinear)
    mask: NDArray[np.bool_] = np.ascontiguousarray(sitk.GetArrayFromImage(found).T > 0.5)
    return mask


def affine_to_atlas(scan: sitk.Image, atlas: sitk.Image, scale: float = 1.0) -> sitk.AffineTransform:
    """Return the affine map that brings a point of a scan (mm) to where it is in the template.

    Both are whole heads, or both bare brains. `scale`: how much longer the template is, roughly; a search that turns
    heads but does not stretch them finds the wrong valley for sizes that differ much.
    Raises PreprocessingError where nothing stands out.
    """
    head = head_mask(scan)
    small = _scaled(atlas, 1 / scale)
    rigid = rigid_search(scan, small, head, head_mask(small))
    centre, shift = np.array(rigid.GetCenter()), np.array(rigid.GetTranslation())
    transform = sitk.AffineTransform(3)
    transform.SetCenter(centre.tolist())
    transform.SetMatrix((scale * np.array(rigid.GetMatrix())).tolist())
    transform.SetTranslation((scale * (centre + shift) - centre).tolist())
    for level_mm, share in LEVELS:
        level = with_spacing(scan, level_mm)
        transform, _ = descend(level, with_spacing(atlas, level_mm), mask_like(head, level), share, transform)
    return transform


def _scaled(image: sitk.Image, scale: float) -> sitk.Image:
    """Return the image with all lengths times `scale`, the origin of mm kept."""
    scaled = sitk.Image(image)
    scaled.SetSpacing([scale * mm for mm in image.GetSpacing()])
    scaled.SetOrigin([scale * mm for mm in image.GetOrigin()])
    return scaled


@cache
def atlas_head() -> tuple[sitk.Image, sitk.Image]:
    """Return the template painted as a FLAIR with a simulated head around it, and its brain, 1 mm voxels."""
    maps = template_maps()
    brain, outside_mm = maps["brain"], maps["outside_mm"]
    image = painted_brain()
    for low, high, level in SHELLS_MM:
        image[(outside_mm > low) & (outside_mm <= high)] = level
    image = ndimage.gaussian_filter(image, 0.7)
    return itk_image(image, template_affine()), itk_image(brain, template_affine())


def painted_brain() -> NDArray[np.float32]:
    """Return the template's brain as a FLAIR, (x, y, z) with 1 mm voxels, 0 outside."""
    maps = template_maps()
    fluid = np.clip(maps["brain"] - maps["grey"] - maps["white"], 0, 1)
    return np.asarray(WHITE * maps["white"] + GREY * maps["grey"] + FLUID * fluid, dtype=np.float32)
