"""Lesions: their size, their place at the border, and that drawing only ever brightens."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lesionwise.simulation.lesions import (
    SyntheticLesion,
    blob,
    draw,
    fractions,
    from_shape,
    place,
    random_volume_mm3,
    rim,
)


@pytest.mark.parametrize("asked_mm3", [30.0, 200.0, 1500.0])
def test_blobs_have_about_the_volume_that_was_asked_for(asked_mm3):
    rng = np.random.default_rng(3)
    volumes = [(blob(rng, asked_mm3, softness_mm=0.4) >= 0.5).sum() for _ in range(20)]
    assert np.mean(volumes) == pytest.approx(asked_mm3, rel=0.2)


def test_a_softer_edge_has_more_voxels_that_are_partly_lesion():
    partly = [
        ((b := blob(np.random.default_rng(4), 500.0, softness)) > 0.1).sum() - (b > 0.9).sum()
        for softness in (0.4, 1.3)
    ]
    assert partly[1] > 1.5 * partly[0]


@given(st.integers(0, 10_000), st.floats(4.0, 3000.0), st.floats(0.4, 2.0))
def test_fractions_are_shares_of_a_voxel_and_some_voxel_is_lesion(seed, volume_mm3, softness_mm):
    fraction = blob(np.random.default_rng(seed), volume_mm3, softness_mm)
    assert fraction.dtype == np.float32
    assert fraction.min() == 0
    assert 0.5 < fraction.max() <= 1


@pytest.mark.parametrize("asked_mm3", [60.0, 512.0, 900.0])
def test_real_shapes_are_scaled_to_the_volume_that_was_asked_for_and_come_softened(asked_mm3):
    rng = np.random.default_rng(5)
    cube = np.ones((8, 8, 8), dtype=bool)
    made = [from_shape(rng, cube, asked_mm3) for _ in range(20)]
    assert np.mean([(fraction >= 0.5).sum() for fraction in made]) == pytest.approx(asked_mm3, rel=0.3)
    assert all(fraction.max() == 1 and ((fraction > 0.1) & (fraction < 0.9)).any() for fraction in made)


def test_a_real_shape_is_never_scaled_beyond_its_detail():
    fraction = from_shape(np.random.default_rng(5), np.ones((8, 8, 8), dtype=bool), 6000.0)
    assert (fraction >= 0.5).sum() < 1.3**3 * 512 * 1.1


def test_volumes_are_log_normal_around_the_median_within_their_bounds():
    rng = np.random.default_rng(6)
    volumes = [random_volume_mm3(rng, 40.0) for _ in range(2000)]
    assert np.median(volumes) == pytest.approx(40.0, rel=0.1)
    assert min(volumes) >= 8
    assert max(volumes) <= 6000


def test_a_lesion_in_the_middle_is_whole():
    fraction = np.arange(27, dtype=np.float32).reshape(3, 3, 3) / 27
    lesion = place(fraction, (5, 6, 7), (12, 12, 12), brightness=1.5)
    assert lesion.box == (slice(4, 7), slice(5, 8), slice(6, 9))
    np.testing.assert_array_equal(lesion.fraction, fraction)


def test_a_lesion_at_the_border_is_cut_there():
    fraction = np.arange(27, dtype=np.float32).reshape(3, 3, 3) / 27
    lesion = place(fraction, (0, 11, 5), (12, 12, 12), brightness=1.5)
    assert lesion.box == (slice(0, 2), slice(10, 12), slice(4, 7))
    np.testing.assert_array_equal(lesion.fraction, fraction[1:, :2, :])


def test_a_lesion_outside_the_image_is_none():
    assert place(np.ones((3, 3, 3), dtype=np.float32), (14, 5, 5), (12, 12, 12), brightness=1.5) is None


def test_without_texture_a_voxel_moves_towards_the_brightness_by_its_fraction():
    image = np.full((1, 1, 3), 1.0, dtype=np.float32)
    lesion = SyntheticLesion(
        (slice(0, 1), slice(0, 1), slice(0, 3)), np.array([[[0, 0.25, 1]]], dtype=np.float32), 2.0
    )
    draw(image, [lesion], np.random.default_rng(0), texture=0.0)
    np.testing.assert_allclose(image, [[[1.0, 1.25, 2.0]]])


@given(st.integers(0, 1000), st.floats(0.2, 2.0), st.floats(0, 0.3))
def test_drawing_never_darkens_and_changes_nothing_outside(seed, brightness, texture):
    rng = np.random.default_rng(seed)
    before = rng.uniform(0, 2, (14, 14, 14)).astype(np.float32)
    lesion = place(blob(rng, 60.0), rng.integers(0, 14, 3), before.shape, brightness)
    after = before.copy()
    draw(after, [lesion], rng, texture)
    assert (after >= before).all()
    np.testing.assert_array_equal(
        after[fractions([lesion], before.shape) == 0], before[fractions([lesion], before.shape) == 0]
    )


def test_where_lesions_overlap_the_larger_fraction_counts():
    here = (slice(0, 1), slice(0, 1), slice(0, 2))
    first = SyntheticLesion(here, np.array([[[0.2, 0.9]]], dtype=np.float32), 1.5)
    second = SyntheticLesion(here, np.array([[[0.6, 0.1]]], dtype=np.float32), 1.5)
    np.testing.assert_allclose(fractions([first, second], (1, 1, 3)), [[[0.6, 0.9, 0.0]]])
    assert not fractions([], (2, 2, 2)).any()


@pytest.mark.parametrize("seed", range(5))
def test_a_rim_lies_along_the_wall_and_grows_away_from_it_and_along_it(seed):
    ventricle = np.zeros((41, 41, 41), dtype=bool)
    ventricle[:20] = True  # the wall is a plane at x = 20
    was, now = rim(np.random.default_rng(seed), ventricle, (20, 20, 20))
    assert not was[ventricle].any()
    assert not now[ventricle].any()
    assert (now >= was).all()
    assert now.sum() > was.sum()
    thickness = (now >= 0.5).any((1, 2)).nonzero()[0]
    assert thickness[0] == 20  # the voxel beside the fluid
    assert thickness[-1] <= 20 + 12
