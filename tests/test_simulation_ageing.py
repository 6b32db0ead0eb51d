"""Ventricles that widen: fluid gains, walls move by what was asked, the surface of the brain stays."""

from dataclasses import replace

import numpy as np
import pytest

from lesionwise.simulation.ageing import narrower_ventricles
from lesionwise.simulation.anatomy import Anatomy
from lesionwise.simulation.fields import warp

RADIUS_MM = 10.0


def distance_mm():
    axes = np.meshgrid(*(np.arange(110.0) - 54.5,) * 3, indexing="ij")
    return np.sqrt(sum(axis**2 for axis in axes))


def hollow_brain():
    """Return a ball of white matter with a ball of fluid in it."""
    r = distance_mm()
    brain, empty = r < 50, np.zeros(r.shape, np.float32)
    flair = np.where(r < RADIUS_MM, 0.3, 1.0).astype(np.float32) * brain
    return Anatomy(flair, brain, empty, brain.astype(np.float32), empty, empty > 0)


@pytest.mark.parametrize("by_mm", [1.0, -1.0])
def test_the_walls_move_in_or_out_and_the_surface_stays(by_mm):
    head = hollow_brain()
    before = warp(head.flair[None], np.eye(3), np.zeros(3), narrower_ventricles(head, by_mm))[0]
    volumes_mm3 = [float((image[distance_mm() < 40] < 0.65).sum()) for image in (before, head.flair)]
    radii_mm = [(volume * 3 / (4 * np.pi)) ** (1 / 3) for volume in volumes_mm3]
    assert radii_mm[1] - radii_mm[0] == pytest.approx(by_mm, abs=0.4)
    far = distance_mm() > 46
    np.testing.assert_allclose(before[far], head.flair[far], atol=0.12)


def test_there_is_nothing_to_move_without_ventricles_or_without_a_change():
    head = hollow_brain()
    assert narrower_ventricles(head, 0.0) is None
    assert narrower_ventricles(replace(head, flair=head.brain.astype(np.float32)), 1.0) is None
