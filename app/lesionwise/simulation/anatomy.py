"""Anatomies that synthetic time points are made from: a random one from the ICBM152 template, or a real scan.

The template (ICBM152 2009a: T1 of the brain, grey and white matter maps, 1 mm) is read from the installed
nilearn package, where it ships as data; nilearn itself is not imported.
"""

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from lesionwise.errors import InputError
from lesionwise.simulation.fields import displacement_field, smooth_field, warp

# Smallest box around the template's head; everything further out is air.
_HEAD_MARGIN_VOXELS = 14


@dataclass(frozen=True)
class Anatomy:
    """A head without the changes that a synthetic pair adds.

    All arrays are (x, y, z) on one 1 mm grid in RAS orientation.

    Attributes:
        flair: float32 intensities, 1 at the white-matter peak; the head around the brain where it is known.
        brain: bool brain mask.
        grey: float32 grey-matter fraction in [0, 1].
        white: float32 white-matter fraction in [0, 1].
        lesion_prior: float32, where lesions lie: relative frequency, 0 where none may be.
        old_lesions: bool, lesions that the scan itself shows.
    """

    flair: np.ndarray
    brain: np.ndarray
    grey: np.ndarray
    white: np.ndarray
    lesion_prior: np.ndarray
    old_lesions: np.ndarray

    def fluid(self) -> np.ndarray:
        """Return the bool mask of cerebrospinal fluid: dark in FLAIR, inside the brain mask."""
        return np.asarray(self.brain & (self.flair < 0.55))


def template_affine() -> np.ndarray:
    """Return the 4x4 affine (voxel to MNI mm) of the template's grid."""
    return np.asarray(_read("t1")[1])


@cache
def template_maps() -> dict[str, np.ndarray]:
    """Return the template's maps on its own grid, (197, 233, 189) voxels of 1 mm, RAS.

    Keys: `t1` (white-matter peak about 1), `grey`, `white` (fractions), `brain` (0 or 1), `outside_mm` (distance
    from the brain) and `lesion_prior` (periventricular and deep white matter first). All float32.

    Raises:
        InputError: the installed nilearn package does not hold the template.
    """
    t1, grey, white = (_read(name)[0].astype(np.float32) for name in ("t1", "gm", "wm"))
    brain = ndimage.binary_fill_holes(ndimage.binary_opening(t1 > 0.1 * t1.max(), iterations=2))
    grey, white = grey / 255.0 * brain, white / 255.0 * brain
    fluid = ndimage.gaussian_filter(np.clip(brain - grey - white, 0, 1).astype(np.float32), 1.0)
    deep = ndimage.distance_transform_edt(brain).astype(np.float32)
    # Ventricles are the fluid deep inside; lesions gather within about a centimetre of them.
    ventricle_mm = ndimage.distance_transform_edt(~((fluid > 0.5) & (deep > 22)))
    near = np.exp(-((ventricle_mm / 9.0) ** 2)).astype(np.float32)
    prior = white * (0.12 + near) * (deep > 3)
    return {
        "t1": t1 / np.float32(np.median(t1[white > 0.9])),
        "grey": grey,
        "white": white,
        "brain": brain.astype(np.float32),
        "outside_mm": ndimage.distance_transform_edt(~brain).astype(np.float32),
        "lesion_prior": prior.astype(np.float32),
    }


def random_anatomy(rng: np.random.Generator, deformation_mm: float = 3.5) -> Anatomy:
    """Return a random head: the template deformed, painted with a FLAIR-like random contrast.

    After SynthSeg (Billot et al., Medical Image Analysis 2023): the labels are real, the intensities are drawn.
    """
    maps = template_maps()
    shape = maps["t1"].shape
    matrix = np.diag(rng.uniform(0.88, 1.12, 3)) @ _rotation(rng.normal(0, 0.06, 3))
    field = displacement_field(shape, rng, amplitude_mm=deformation_mm, smoothness_mm=28.0)
    names = ("t1", "grey", "white", "brain", "outside_mm", "lesion_prior")
    # A warp fills what lies beyond the grid with 0, which must mean far away and not brain.
    farthest_mm = maps["outside_mm"].max()
    maps = maps | {"outside_mm": farthest_mm - maps["outside_mm"]}
    warped = dict(
        zip(names, warp(np.stack([maps[n] for n in names]), matrix, np.zeros(3), field), strict=True)
    )
    warped["outside_mm"] = farthest_mm - warped["outside_mm"]
    if rng.random() < 0.5:
        warped = {name: image[::-1].copy() for name, image in warped.items()}
    brain = warped["brain"] > 0.5
    flair = _paint(warped, brain, rng)
    empty = np.zeros(shape, dtype=bool)
    return _cropped(Anatomy(flair, brain, warped["grey"], warped["white"], warped["lesion_prior"], empty))


def deformed(anatomy: Anatomy, rng: np.random.Generator, deformation_mm: float = 3.0) -> Anatomy:
    """Return a real anatomy in a new shape: random affine, elastic deformation and left-right mirror."""
    matrix = np.diag(rng.uniform(0.92, 1.08, 3)) @ _rotation(rng.normal(0, 0.06, 3))
    field = displacement_field(anatomy.flair.shape, rng, amplitude_mm=deformation_mm, smoothness_mm=30.0)
    channels = np.stack(
        [
            anatomy.flair,
            anatomy.brain.astype(np.float32),
            anatomy.grey,
            anatomy.white,
            anatomy.lesion_prior,
            anatomy.old_lesions.astype(np.float32),
        ]
    )
    warped = warp(channels, matrix, np.zeros(3), field)
    if rng.random() < 0.5:
        warped = warped[:, ::-1].copy()
    flair, brain, grey, white, prior, lesions = warped
    return Anatomy(flair, brain > 0.5, grey, white, prior, lesions > 0.5)


def _paint(maps: dict[str, np.ndarray], brain: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return FLAIR-like intensities: tissues, texture, regional change, and a head around the brain."""
    shape = brain.shape
    grey, white = maps["grey"], maps["white"]
    fluid = np.clip(maps["brain"] - grey - white, 0, 1)
    regional = 1 + rng.uniform(0, 0.12) * smooth_field(shape, rng, 18.0)
    levels = rng.uniform(0.08, 0.45), rng.uniform(1.03, 1.4)
    tissue = white * (1 + rng.uniform(0, 0.06) * smooth_field(shape, rng, 12.0))
    tissue += grey * levels[1] * regional + fluid * levels[0]
    expected = white + 0.72 * grey + 0.3 * fluid
    texture = np.clip(maps["t1"] - expected, -0.3, 0.3) * rng.uniform(-0.5, 0.2)
    rim = ndimage.gaussian_filter((fluid > 0.5).astype(np.float32), 1.2)
    rim = np.clip(rim * (1 - fluid) * 4, 0, 1) * rng.uniform(0, 0.25) * (rng.random() < 0.5)
    inside = np.clip(tissue + texture + rim * white, 0, None)
    outside = head_around(maps["outside_mm"], levels[0], rng)
    soft = np.clip(maps["brain"], 0, 1)
    image = soft * inside + (1 - soft) * outside
    return np.asarray(image, dtype=np.float32)


def head_around(outside_mm: np.ndarray, fluid_level: float, rng: np.random.Generator) -> np.ndarray:
    """Return fluid, skull, marrow and scalp in shells of uneven thickness, float32 (x, y, z), air beyond them.

    `outside_mm` is the distance from the brain, 0 inside.
    """
    depth = outside_mm + 1.5 * smooth_field(outside_mm.shape, rng, 9.0)
    edges = np.cumsum([0.0, rng.uniform(1.0, 3.0), rng.uniform(1.5, 3), rng.uniform(1, 3), rng.uniform(4, 7)])
    levels = [fluid_level, 0.08, rng.uniform(0.2, 0.7), rng.uniform(0.6, 1.6)]
    image = np.zeros(outside_mm.shape, dtype=np.float32)
    for low, high, level in zip(edges[:-1], edges[1:], levels, strict=True):
        image[(depth > low) & (depth <= high)] = level
    # Dura and sinuses: a thin bright shell in places, the usual residue of an imperfect brain mask.
    dura = (depth > 0) & (depth < 1.5) & (smooth_field(outside_mm.shape, rng, 7.0) > 0.8)
    image[dura] = rng.uniform(0.5, 1.2)
    return np.asarray(ndimage.gaussian_filter(image, 0.6))


def _cropped(anatomy: Anatomy) -> Anatomy:
    """Return the anatomy cut to the brain's box plus a margin that holds the head."""
    box = tuple(
        slice(max(0, s.start - _HEAD_MARGIN_VOXELS), s.stop + _HEAD_MARGIN_VOXELS)
        for s in ndimage.find_objects(anatomy.brain.astype(np.uint8))[0]
    )
    parts = (
        anatomy.flair,
        anatomy.brain,
        anatomy.grey,
        anatomy.white,
        anatomy.lesion_prior,
        anatomy.old_lesions,
    )
    return Anatomy(*(np.ascontiguousarray(part[box]) for part in parts))


def _rotation(angles_rad: np.ndarray) -> np.ndarray:
    """Return the 3x3 rotation about x, then y, then z."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles_rad):
        i, j = [a for a in range(3) if a != axis]
        step = np.eye(3)
        step[i, i] = step[j, j] = np.cos(angle)
        step[i, j], step[j, i] = -np.sin(angle), np.sin(angle)
        matrix = step @ matrix
    return matrix


@cache
def _read(name: str) -> tuple[np.ndarray, np.ndarray]:
    spec = find_spec("nilearn")
    if spec is None or spec.origin is None:
        raise InputError("the ICBM152 template is missing: install the package nilearn, which ships it")
    file = f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz"
    path = Path(spec.origin).parent / "datasets" / "data" / file
    if not path.is_file():
        raise InputError(f"the ICBM152 template is missing: {file} is not in the installed nilearn package")
    image = nib.load(path)
    return np.asarray(image.dataobj), np.asarray(image.affine)
