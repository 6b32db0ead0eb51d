"""Where lesions lie in an anatomy, and spots that are no lesions: drawn at random. Arrays are (x, y, z), 1 mm voxels."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from lesionwise.simulation.ageing import ventricles
from lesionwise.simulation.anatomy import Anatomy
from lesionwise.simulation.lesions import (
    SyntheticLesion,
    blob,
    from_shape,
    place,
    random_volume_mm3,
    rim,
)

# What is darker is fluid, in units of the white-matter peak.
DARKEST_TISSUE = 0.75
# The evaluator counts lesions of more than 3 mm3.
SPECK_MM3 = (0.5, 3.0)
RIM_SHARE = 0.2
"""Of the lesions that are drawn: rims along the wall of a ventricle."""
GROWN_RIMS = 2.5
"""Times as many of those that grow."""
# How much brighter than what is around them one patient's lesions are, in units of the white-matter peak.
PATIENT_CONTRAST = (0.12, 0.75)
RIM_BOX = 22
"""Half the edge of the box that a rim is drawn in, in voxels."""


class Places:
    """Where lesions and distractors of one anatomy may lie."""

    def __init__(self, anatomy: Anatomy, rng: np.random.Generator, rim_share: float = RIM_SHARE) -> None:
        self.flair = anatomy.flair
        # Brain masks end in the fluid around the cortex; white matter begins some millimetres inside.
        tissue = ndimage.binary_erosion(anatomy.brain, iterations=4) & (anatomy.flair > DARKEST_TISSUE)
        self.tissue = tissue
        weight = anatomy.lesion_prior * tissue
        floor = weight.max() * rng.uniform(0.02, 0.15) * anatomy.white
        weight = np.where(tissue, weight + floor, 0).ravel()
        self.ventricles = ventricles(anatomy)
        walls = ndimage.binary_dilation(self.ventricles) & tissue
        self.walls = np.flatnonzero(walls & (anatomy.lesion_prior > 0))
        # Most of what is fluid deep in the brain and no lateral ventricle has walls without lesions.
        # Sums of a million weights in float32 stop growing, and what is light is never drawn.
        self.wall_weights = np.cumsum(anatomy.lesion_prior.ravel()[self.walls] ** 2, dtype=np.float64)
        self.rim_share = rim_share if len(self.walls) else 0.0
        self.voxels = np.flatnonzero(weight)
        self.cumulative = np.cumsum(weight[self.voxels], dtype=np.float64)
        # Distractors: brighter spots that are no lesions (flow in fluid, vessels, cortex, residue of dura).
        self.other = np.flatnonzero(ndimage.binary_dilation(anatomy.brain, iterations=3) & ~tissue)

    def draw(
        self,
        count: int,
        shapes: Sequence[np.ndarray],
        rng: np.random.Generator,
        median_mm3: float,
        grown_from: Sequence[SyntheticLesion] = (),
    ) -> list[SyntheticLesion]:
        """Return up to `count` lesions at random places, brighter than what is under them.

        A fifth of them begin at the edge of one of `grown_from`: what lies beyond that edge is growth.
        """
        lesions = []
        # One patient's lesions look alike: their contrast is drawn around the patient's.
        patient_contrast = rng.uniform(*PATIENT_CONTRAST)
        for _ in range(count):
            if self.rim_share and rng.random() < self.rim_share:
                lesions.append(self._rim(rng, _contrast(patient_contrast, rng))[1])
                continue
            volume_mm3 = random_volume_mm3(rng, median_mm3)
            # Many lesions fade into the white matter around them over more than a voxel.
            softness_mm = float(np.exp(rng.uniform(np.log(0.4), np.log(2.2))))
            if len(shapes) and rng.random() < 0.35:
                fraction = from_shape(rng, shapes[int(rng.integers(len(shapes)))], volume_mm3)
            else:
                fraction = blob(rng, volume_mm3, softness_mm, float(rng.uniform(0.1, 0.45)))
            centre = self._voxel(rng)
            if grown_from and rng.random() < 0.2:
                centre = _edge_voxel(grown_from[int(rng.integers(len(grown_from)))], rng)
            brightness = self._around(centre) + _contrast(patient_contrast, rng)
            lesion = place(fraction, centre, self.flair.shape, brightness)
            if lesion is not None:
                lesions.append(lesion)
        return lesions

    def draw_grown(
        self, count: int, shapes: Sequence[np.ndarray], rng: np.random.Generator, median_mm3: float
    ) -> list[tuple[SyntheticLesion, SyntheticLesion]]:
        """Return up to `count` lesions that grow, each as it was and as it is."""
        rims = int(rng.binomial(count, min(1.0, GROWN_RIMS * self.rim_share))) if self.rim_share else 0
        lesions = []
        for _ in range(rims):
            was, now = self._rim(rng, _contrast(rng.uniform(*PATIENT_CONTRAST), rng))
            lesions.append((_duller(was, rng), now))
        others = self.draw(count - rims, shapes, rng, median_mm3)
        return lesions + [(_as_it_was(now, rng), now) for now in others]

    def _rim(self, rng: np.random.Generator, contrast: float) -> tuple[SyntheticLesion, SyntheticLesion]:
        """Return a lesion along the wall of a ventricle, as it was and as it is."""
        pick = int(np.searchsorted(self.wall_weights, rng.uniform(0, self.wall_weights[-1])))
        wall = int(self.walls[min(pick, len(self.walls) - 1)])
        centre = [int(c) for c in np.unravel_index(wall, self.flair.shape)]
        starts = [max(0, c - RIM_BOX) for c in centre]
        x, y, z = (slice(start, c + RIM_BOX + 1) for start, c in zip(starts, centre, strict=True))
        fractions = rim(rng, self.ventricles[x, y, z], [c - s for c, s in zip(centre, starts, strict=True)])
        # Where the wall is thin a rim ends: beyond it there is fluid or cortex.
        was, now = (
            SyntheticLesion((x, y, z), part * self.tissue[x, y, z], self._around(centre) + contrast)
            for part in fractions
        )
        return was, now

    def distractors(self, count: int, rng: np.random.Generator) -> list[SyntheticLesion]:
        """Return bright spots outside white matter, drawn for one time only: they are not lesions."""
        spots = []
        for _ in range(count if len(self.other) else 0):
            centre = np.unravel_index(int(self.other[rng.integers(len(self.other))]), self.flair.shape)
            fraction = blob(
                rng, random_volume_mm3(rng, 30.0), float(rng.uniform(0.6, 2.0)), float(rng.uniform(0.2, 0.6))
            )
            brightness = float(min(self.flair[centre] + rng.uniform(0.1, 1.3), 2.3))
            spot = place(
                fraction * rng.uniform(0.5, 1), [int(c) for c in centre], self.flair.shape, brightness
            )
            if spot is not None:
                # A large one must not reach into the white matter, where it would be a lesion.
                spots.append(replace(spot, fraction=spot.fraction * ~self.tissue[spot.box]))
        return spots

    def specks(self, count: int, rng: np.random.Generator) -> list[SyntheticLesion]:
        """Return spots like lesions but smaller than what counts as one, drawn for one time only: noise, not lesions."""
        spots = []
        for _ in range(count):
            centre = self._voxel(rng)
            fraction = blob(rng, float(rng.uniform(*SPECK_MM3)), float(rng.uniform(0.4, 0.8)))
            brightness = float(self.flair[centre] + rng.uniform(0.15, 0.8))
            spot = place(fraction, centre, self.flair.shape, brightness)
            if spot is not None:
                spots.append(spot)
        return spots

    def _around(self, centre: Sequence[int]) -> float:
        """Return the mean brightness of the tissue within 4 mm of a voxel: the brain stem is darker than white matter."""
        near = self.flair[tuple(slice(max(c - 4, 0), c + 5) for c in centre)]
        tissue = near[near > DARKEST_TISSUE]
        return float(tissue.mean()) if len(tissue) else 1.0

    def _voxel(self, rng: np.random.Generator) -> tuple[int, ...]:
        """Return a voxel (x, y, z) drawn by how often lesions lie there."""
        pick = np.searchsorted(self.cumulative, rng.uniform(0, self.cumulative[-1]))
        voxel = self.voxels[min(int(pick), len(self.voxels) - 1)]
        return tuple(int(v) for v in np.unravel_index(voxel, self.flair.shape))


def _contrast(patient_contrast: float, rng: np.random.Generator) -> float:
    """Return the contrast of one lesion of a patient."""
    return float(np.clip(patient_contrast * np.exp(rng.normal(0, 0.35)), 0.1, 1.1))


def _as_it_was(lesion: SyntheticLesion, rng: np.random.Generator) -> SyntheticLesion:
    """Return a lesion that grew as it was before: without a shell of one or two millimetres, and duller."""
    shell_mm = int(rng.choice([1, 1, 2]))
    smaller = ndimage.grey_erosion(lesion.fraction, 2 * shell_mm + 1, mode="constant")
    return _duller(replace(lesion, fraction=smaller), rng)


def _duller(lesion: SyntheticLesion, rng: np.random.Generator) -> SyntheticLesion:
    """Return a lesion less bright than it is going to be, or as bright."""
    return replace(lesion, brightness=1 + (lesion.brightness - 1) * float(rng.uniform(0.4, 1.0)))


def _edge_voxel(lesion: SyntheticLesion, rng: np.random.Generator) -> tuple[int, ...]:
    """Return a random voxel (x, y, z) of the image at the lesion's edge."""
    edge = np.argwhere((lesion.fraction > 0.2) & (lesion.fraction < 0.8))
    if not len(edge):
        edge = np.argwhere(lesion.fraction == lesion.fraction.max())
    voxel = edge[rng.integers(len(edge))]
    return tuple(int(v) + axis.start for v, axis in zip(voxel, lesion.box, strict=True))
