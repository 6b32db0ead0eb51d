"""Where lesions lie in an anatomy, and spots that are no lesions: drawn at random. Arrays are (x, y, z), 1 mm voxels."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from lesionwise.simulation.anatomy import Anatomy
from lesionwise.simulation.lesions import SyntheticLesion, blob, from_shape, place, random_volume_mm3

# What is darker is fluid, in units of the white-matter peak.
DARKEST_TISSUE = 0.75
# The evaluator counts lesions of more than 3 mm3.
SPECK_MM3 = (0.5, 3.0)


class Places:
    """Where lesions and distractors of one anatomy may lie."""

    def __init__(self, anatomy: Anatomy, rng: np.random.Generator) -> None:
        self.flair = anatomy.flair
        # Brain masks end in the fluid around the cortex; white matter begins some millimetres inside.
        tissue = ndimage.binary_erosion(anatomy.brain, iterations=4) & (anatomy.flair > DARKEST_TISSUE)
        self.tissue = tissue
        weight = anatomy.lesion_prior * tissue
        floor = weight.max() * rng.uniform(0.02, 0.15) * anatomy.white
        weight = np.where(tissue, weight + floor, 0).ravel()
        self.voxels = np.flatnonzero(weight)
        self.cumulative = np.cumsum(weight[self.voxels])
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
        patient_contrast = rng.uniform(0.12, 0.75)
        for _ in range(count):
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
            contrast = float(np.clip(patient_contrast * np.exp(rng.normal(0, 0.35)), 0.1, 1.1))
            lesion = place(fraction, centre, self.flair.shape, self._around(centre) + contrast)
            if lesion is not None:
                lesions.append(lesion)
        return lesions

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


def _edge_voxel(lesion: SyntheticLesion, rng: np.random.Generator) -> tuple[int, ...]:
    """Return a random voxel (x, y, z) of the image at the lesion's edge."""
    edge = np.argwhere((lesion.fraction > 0.2) & (lesion.fraction < 0.8))
    if not len(edge):
        edge = np.argwhere(lesion.fraction == lesion.fraction.max())
    voxel = edge[rng.integers(len(edge))]
    return tuple(int(v) + axis.start for v, axis in zip(voxel, lesion.box, strict=True))
