"""Whole-head synthetic cases: two FLAIRs as a scanner stores them, and the truth, for trying the program out.

The anatomy, the lesions and the acquisition are those that training uses; this module puts a head around the brain,
lets the coils shade it and stores whole numbers. Arrays are (x, y, z), 1 mm voxels, RAS.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy import ndimage

from lesionwise.lesions import label_lesions, remove_small_lesions
from lesionwise.simulation.acquisition import Acquisition
from lesionwise.simulation.anatomy import Anatomy, head_around, random_anatomy
from lesionwise.simulation.timepoints import SPACING_MM, LesionPlan, random_scans, simulate_pair

MARGIN_VOXELS = 22
"""Around the brain on every side: room for skull and scalp, and a little air."""

# The skull spans the gaps between the lobes: those that a ball of this radius does not enter.
_SKULL_RADIUS_MM = 14.0

# Shading of the whole head before correction: standard deviation of the log of the coils' sensitivity.
_SHADING = (0.08, 0.20)
# Intensity of white matter, in the scanner's arbitrary units.
_WHITE_MATTER_LEVEL = (180.0, 520.0)
# A 3D FLAIR as the challenge has them: thin slices, little noise (in units of the white-matter peak), the whole head.
_THICKEST_SLICE_MM = 1.2
_MOST_NOISE = 0.03
# What heads have; training draws larger and smaller ones, too. Brain extraction believes masks up to 2200 ml.
_BRAIN_ML = (1000.0, 2050.0)
# On top of what training draws: a case made to be looked at shows more than one small lesion.
_MORE_NEW_LESIONS = 3


@dataclass(frozen=True)
class Phantom:
    """One synthetic case.

    Attributes:
        time1, time2: int16, the whole head.
        new_lesions: bool, the truth: what is new at time 2.
        brain: bool, the true brain.
        drawn: what chance has drawn, ready for JSON.
    """

    time1: np.ndarray
    time2: np.ndarray
    new_lesions: np.ndarray
    brain: np.ndarray
    drawn: dict[str, Any]

    @property
    def affine(self) -> np.ndarray:
        """The 4x4 affine, voxel indices to mm: the middle of the grid is at 0."""
        affine = np.eye(4)
        affine[:3, 3] = -(np.array(self.time1.shape) - 1) / 2
        return affine


def make_phantom(seed: int, number: int, unchanged_share: float = 0.0) -> Phantom:
    """Return case `number` of the series `seed`; the same two numbers give the same case.

    `unchanged_share` of the cases have no new lesion, all others at least one that the truth shows.
    """
    rng = np.random.default_rng((seed, number))
    anatomy = whole_head(brain_of_plausible_size(rng), rng)
    plan = LesionPlan.random(rng, unchanged_share)
    if plan.new:
        plan = replace(plan, new=plan.new + _MORE_NEW_LESIONS)
    scans = _as_the_challenge_scans(random_scans(rng))
    while True:
        # Without rims, which are hard to see: phantoms are for trying things out.
        pair = simulate_pair(anatomy, rng, plan=plan, scans=scans, rim_share=0.0)
        truth = remove_small_lesions(pair.new_lesions & anatomy.brain, SPACING_MM)
        if truth.any() or not plan.new:
            break  # else all of them were too small to be seen
    levels = rng.uniform(*_WHITE_MATTER_LEVEL, 2).tolist()
    shadings = rng.uniform(*_SHADING, 2).tolist()
    time1, time2 = (
        _stored(time * coil_shading(time.shape, rng, shading) * level)
        for time, shading, level in zip((pair.time1, pair.time2), shadings, levels, strict=True)
    )
    volumes = np.bincount(label_lesions(truth, SPACING_MM).ravel())[1:]
    drawn = {
        "seed": seed,
        "case": number,
        "new_lesion_volumes_mm3": [int(volume) for volume in volumes],
        "brain_volume_ml": round(float(anatomy.brain.sum()) / 1000, 1),
        "lesions_drawn": asdict(plan),
        "time1": _described(scans[0], levels[0], shadings[0]),
        "time2": _described(scans[1], levels[1], shadings[1]),
    }
    return Phantom(time1, time2, truth, anatomy.brain, drawn)


def brain_of_plausible_size(rng: np.random.Generator) -> Anatomy:
    """Return the first of the random anatomies whose brain has 1000 to 2050 ml."""
    while True:
        anatomy = random_anatomy(rng)
        if _BRAIN_ML[0] <= anatomy.brain.sum() / 1000 <= _BRAIN_ML[1]:
            return anatomy


def whole_head(anatomy: Anatomy, rng: np.random.Generator) -> Anatomy:
    """Return the anatomy on a larger grid, with skull, scalp and air around the brain."""
    anatomy = _with_margin(anatomy)
    fluid_level = float(np.median(anatomy.flair[anatomy.fluid()]))
    around = head_around(_outside_skull_mm(anatomy.brain), fluid_level, rng)
    inside = ndimage.gaussian_filter(anatomy.brain.astype(np.float32), 0.7)
    flair = inside * anatomy.flair + (1 - inside) * around
    return replace(anatomy, flair=np.asarray(flair, dtype=np.float32))


def coil_shading(shape: tuple[int, ...], rng: np.random.Generator, strength: float) -> np.ndarray:
    """Return the sensitivity of the coils over the grid: the exponential of a random quadratic polynomial.

    float32, mean of the logarithm 0 and its standard deviation `strength`.
    """
    axes = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in shape), indexing="ij", sparse=True)
    x, y, z = axes
    terms = (x, y, z, x * x, y * y, z * z, x * y, y * z, x * z)
    log = sum(
        (np.float32(weight) * term for weight, term in zip(rng.normal(size=9), terms, strict=True)), 0 * x
    )
    return np.asarray(np.exp(np.float32(strength) * (log - log.mean()) / log.std()))


def _as_the_challenge_scans(scans: tuple[Acquisition, Acquisition]) -> tuple[Acquisition, Acquisition]:
    first, second = (
        replace(
            scan,
            slice_thickness_mm=min(scan.slice_thickness_mm, _THICKEST_SLICE_MM),
            noise=min(scan.noise, _MOST_NOISE),
            missing_voxels=0,
        )
        for scan in scans
    )
    return first, second


def _with_margin(anatomy: Anatomy) -> Anatomy:
    """Return the anatomy cut to its brain, with air of the margin's width on every side."""
    box = tuple(ndimage.find_objects(anatomy.brain.astype(np.uint8))[0])
    return Anatomy(**{name: np.pad(part[box], MARGIN_VOXELS) for name, part in vars(anatomy).items()})


def _outside_skull_mm(brain: np.ndarray) -> np.ndarray:
    """Return the distance from the brain, gaps between its lobes filled; worked out on a grid of 2 mm."""
    coarse = brain[::2, ::2, ::2]
    near = ndimage.distance_transform_edt(~coarse, sampling=2.0) <= _SKULL_RADIUS_MM
    filled = ndimage.distance_transform_edt(near, sampling=2.0) > _SKULL_RADIUS_MM
    outside = ndimage.distance_transform_edt(~(filled | coarse), sampling=2.0).astype(np.float32)
    factors = [fine / rough for fine, rough in zip(brain.shape, coarse.shape, strict=True)]
    return np.asarray(ndimage.zoom(outside, factors, order=1))


def _stored(image: np.ndarray) -> np.ndarray:
    return np.asarray(np.rint(np.clip(image, 0, np.iinfo(np.int16).max)), dtype=np.int16)


def _described(scan: Acquisition, level: float, shading: float) -> dict[str, Any]:
    return {"white_matter_level": round(level, 1), "coil_shading": round(shading, 3)} | asdict(scan)
