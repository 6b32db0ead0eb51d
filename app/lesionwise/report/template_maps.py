"""Maps of the brain on a scan's grid, from the ICBM152 template laid over the scan by an affine map.

The lateral ventricles are the scan's own: the dark voxels where the template has them or near, because they are what
differs most between patients. Cortex, brainstem and cerebellum are the template's, and as good as an affine map is.
"""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray
from scipy import ndimage

from lesionwise.errors import PreprocessingError
from lesionwise.lesions import label_lesions
from lesionwise.preprocessing.alignment import itk_image, matrix_of
from lesionwise.preprocessing.atlas import affine_to_atlas, painted_brain
from lesionwise.preprocessing.itk_threads import itk_threads
from lesionwise.progress import Progress
from lesionwise.report.places import BrainMaps, CasePlaces, place_lesions
from lesionwise.scan_pair import WORKING_ORDER, Study
from lesionwise.simulation.anatomy import template_affine, template_maps
from lesionwise.volume import Volume, to_orientation

POOREST_OVERLAP = 0.85
"""With less overlap of the two brains (Dice) than this, places are not to be believed."""

VENTRICLE_REACH_MM = 8
"""How far from the template's ventricles those of the scan may lie."""

FLUID_LEVEL = 0.6
"""Fluid is darker in FLAIR than this share of the brain's median."""

SMALLEST_VENTRICLES_ML = 2.0
"""Where less is found dark, the template's ventricles are taken."""

CORTEX_MM = 4.0
"""Grey matter no deeper than this under the surface of the brain is cortex; the rest are nuclei."""

DEEP_MM = 20.0
"""Fluid so deep under the brain's convex surface, and above the tentorium, is in the ventricles."""

FLOOD_TO_MM = 25
"""What lies higher is above the tentorium, and no flood need go there."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class ScanMaps:
    """The maps on a scan's grid, and how well the template lies on the scan: `overlap` of both brains (Dice)."""

    maps: BrainMaps
    overlap: float


def place_case(study: Study, mask: Mask, threads: int, progress: Progress) -> CasePlaces | None:
    """Return the places of the lesions of a mask on the grid of `study.output`.

    None, with a warning, where the template does not lie well enough on the brain to tell.
    """
    output = study.output

    def turned(array: NDArray[Any]) -> Volume:
        return to_orientation(replace(output, data=array), WORKING_ORDER)

    scan, brain = turned(study.to_output(study.time2.data)), turned(study.mask_to_output(study.brain.data))
    try:
        with itk_threads(threads):
            found = maps_on_scan(scan.data, brain.data, scan.affine)
    except PreprocessingError:
        progress.warn("the atlas could not be laid over the brain, so that places of lesions are not given")
        return None
    if found.overlap < POOREST_OVERLAP:
        progress.warn(
            f"the atlas covers the brain to {found.overlap:.2f} only (Dice; {POOREST_OVERLAP} is needed),"
            " so that places of lesions are not given"
        )
        return None
    labels = turned(label_lesions(mask, output.spacing_mm))  # turned last: their numbers are the table's
    return CasePlaces(place_lesions(labels.data, found.maps, labels.spacing_mm), found.overlap)


def maps_on_scan(scan: NDArray[np.float32], brain: Mask, affine: NDArray[np.float64]) -> ScanMaps:
    """Lay the template over the brain of a scan (x, y, z; mask, affine) and return the maps there.

    Raises `PreprocessingError` where no brain stands out.
    """
    image = itk_image(scan, affine)
    bare = itk_image(np.where(brain, scan, np.float32(0)), affine)
    volume_mm3 = max(1, int(np.count_nonzero(brain))) * float(np.prod(voxel_sizes(affine)))
    scale = float(np.cbrt(np.count_nonzero(template_regions()["brain"]) / volume_mm3))
    transform = affine_to_atlas(bare, itk_image(painted_brain(), template_affine()), scale)

    def on_scan(mask: Mask) -> Mask:
        found = sitk.Resample(
            itk_image(mask.astype(np.float32), template_affine()), image, transform, sitk.sitkLinear
        )
        return np.ascontiguousarray(sitk.GetArrayFromImage(found).T > 0.5)

    template = template_regions()
    there = on_scan(template["brain"])
    shared, both = np.count_nonzero(there & brain), np.count_nonzero(there) + np.count_nonzero(brain)
    overlap = 2 * int(shared) / max(1, int(both))
    maps = BrainMaps(
        ventricles=ventricles_of_scan(
            scan, brain, on_scan(template["ventricles"]), tuple(voxel_sizes(affine))
        ),
        cortex=on_scan(template["cortex"]),
        infratentorial=on_scan(template["infratentorial"]),
        to_template=matrix_of(transform) @ affine,
    )
    return ScanMaps(maps, float(overlap))


def ventricles_of_scan(
    scan: NDArray[np.float32], brain: Mask, expected: Mask, spacing_mm: tuple[float, float, float]
) -> Mask:
    """Return the lateral ventricles of a FLAIR: dark voxels near the expected ones, in one piece with some of them.

    All arrays are (x, y, z). Where hardly any is dark, the expected ones are returned.
    """
    level = float(np.median(scan[brain])) if brain.any() else 0.0
    reach = [round(VENTRICLE_REACH_MM / spacing) for spacing in spacing_mm]
    near = expected
    for axis, steps in enumerate(reach):
        line = np.ones([2 * steps + 1 if at == axis else 1 for at in range(3)], dtype=np.bool_)
        near = ndimage.binary_dilation(near, line)
    dark = (scan < FLUID_LEVEL * level) & near & brain
    components, _ = ndimage.label(dark)
    touching = np.unique(components[expected & dark])
    found = np.isin(components, touching[touching > 0])
    if np.count_nonzero(found) * np.prod(spacing_mm) < SMALLEST_VENTRICLES_ML * 1000:
        return expected
    return found


@cache
def template_regions() -> dict[str, Mask]:
    """Return masks on the template's own grid: `brain`, `ventricles` (lateral), `cortex` and `infratentorial`."""
    maps = template_maps()
    brain = maps["brain"] > 0.5
    infratentorial = below_tentorium(maps["t1"], brain)
    fluid = brain & (maps["grey"] + maps["white"] < 0.5)
    depth_mm = ndimage.distance_transform_edt(brain)
    x, _, z = _coordinates(brain.shape)
    ventricles = fluid & (depth_mm > DEEP_MM) & ~infratentorial & (z > -25) & (np.abs(x) > 2)
    ventricles = _largest(ventricles, 2)
    outer = (fluid & ~ndimage.binary_dilation(ventricles, iterations=3)) | ~brain
    surface_mm = ndimage.distance_transform_edt(~outer)
    cortex = (maps["grey"] > 0.5) & (surface_mm <= CORTEX_MM) & ~infratentorial
    return {"brain": brain, "ventricles": ventricles, "cortex": cortex, "infratentorial": infratentorial}


def below_tentorium(t1: NDArray[np.float32], brain: Mask) -> Mask:
    """Return brainstem and cerebellum of the template: what a flood from them fills before one from above arrives.

    In T1 the tentorium is a dark sheet, over which a watershed does not go. The midbrain has no such border above:
    there it is a plane, from behind the colliculi to before the peduncles.
    """
    x, y, z = _coordinates(t1.shape)
    bright = t1 > 0.75
    above_midbrain = z > -17 - 0.5 * y
    stem = (np.abs(x) < 14) & (y > -38) & (y < -12) & (z > -60) & ~above_midbrain
    cerebellum = (np.abs(np.abs(x) - 19) < 11) & (y > -72) & (y < -50) & (z > -46) & (z < -32)
    upper = (z > 12) | ((np.abs(x) < 25) & (y > -45) & above_midbrain)
    markers = np.where(bright & (stem | cerebellum), 1, np.where(bright & upper, 2, 0)).astype(np.uint8)
    height = np.where(brain, -t1, 1).astype(np.float32)
    low = np.s_[:, :, : int(np.count_nonzero(z < FLOOD_TO_MM))]
    filled = sitk.GetArrayFromImage(
        sitk.MorphologicalWatershedFromMarkers(
            sitk.GetImageFromArray(height[low]), sitk.GetImageFromArray(markers[low]), False, True
        )
    )
    below = np.zeros_like(brain)
    below[low] = brain[low] & (filled == 1)
    return below


def _coordinates(shape: tuple[int, ...]) -> tuple[NDArray[np.float64], ...]:
    """Return the template's x, y and z in mm, each along its own axis."""
    origin = template_affine()[:3, 3]
    return tuple(
        axis + offset for axis, offset in zip(np.ogrid[tuple(map(slice, shape))], origin, strict=True)
    )


def _largest(mask: Mask, count: int) -> Mask:
    """Return the largest pieces of a mask."""
    components, _ = ndimage.label(mask)
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    return np.asarray(np.isin(components, np.argsort(sizes)[-count:]))
