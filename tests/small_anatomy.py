"""A head small enough for tests, made by hand: a ball of white matter in a shell of grey, fluid around it."""

import numpy as np

from lesionwise.simulation.anatomy import Anatomy

SHAPE = (48, 52, 44)
WHITE_RADIUS, GREY_RADIUS, BRAIN_RADIUS = 14.0, 17.0, 19.0


def centre_distance() -> np.ndarray:
    """Return the distance of each voxel (x, y, z) from the middle of the grid, in mm."""
    axes = (np.arange(n) - (n - 1) / 2 for n in SHAPE)
    return np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij")))


def small_anatomy() -> Anatomy:
    """Return white matter 1, grey matter 1.2, fluid 0.3 and air 0; lesions may lie in white matter only."""
    distance = centre_distance()
    white = (distance <= WHITE_RADIUS).astype(np.float32)
    grey = ((distance > WHITE_RADIUS) & (distance <= GREY_RADIUS)).astype(np.float32)
    brain = distance <= BRAIN_RADIUS
    flair = np.select([white > 0, grey > 0, brain], [1.0, 1.2, 0.3], 0.0).astype(np.float32)
    return Anatomy(flair, brain, grey, white, lesion_prior=white, old_lesions=np.zeros(SHAPE, dtype=bool))
