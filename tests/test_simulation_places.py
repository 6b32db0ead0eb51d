"""Where lesions may be drawn, there some are."""

from dataclasses import replace

import numpy as np
from test_simulation_ageing import hollow_brain

from lesionwise.simulation.places import Places


def test_every_voxel_and_every_wall_with_a_weight_can_be_drawn():
    head = hollow_brain()
    # Light ones after heavy ones: in float32 adding them to the sum changes nothing.
    light = np.arange(110)[:, None, None] > 54
    weight = np.where(light, np.float32(1e-6), np.float32(1)) * head.white
    where = Places(replace(head, white=weight, lesion_prior=weight), np.random.default_rng(1))
    assert len(where.voxels) == where.tissue.sum()
    assert len(where.walls) > 100
    for summed in (where.cumulative, where.wall_weights):
        assert (np.diff(summed) > 0).all()
