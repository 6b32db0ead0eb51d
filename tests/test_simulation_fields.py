"""Random fields have the statistics they promise; warps go where they should."""

import numpy as np
import pytest

from lesionwise.simulation.fields import displacement_field, smooth_field, warp

SHAPE = (60, 64, 56)


def test_a_field_has_about_zero_mean_and_unit_variance():
    rng = np.random.default_rng(1)
    values = np.concatenate([smooth_field(SHAPE, rng, 6.0).ravel() for _ in range(5)])
    assert np.mean(values) == pytest.approx(0, abs=0.1)
    assert np.std(values) == pytest.approx(1, abs=0.25)


def test_a_smoother_field_changes_less_from_voxel_to_voxel():
    steps = [
        np.abs(np.diff(smooth_field(SHAPE, np.random.default_rng(2), mm), axis=0)).mean()
        for mm in (5.0, 20.0)
    ]
    assert steps[1] < steps[0] / 2


def test_a_field_is_made_by_its_seed_alone():
    fields = [smooth_field(SHAPE, np.random.default_rng(seed), 9.0) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(fields[0], fields[1])
    assert (fields[0] != fields[2]).any()


def test_displacements_scale_with_the_amplitude():
    one, three = (displacement_field(SHAPE, np.random.default_rng(5), mm, 15.0) for mm in (1.0, 3.0))
    assert one.shape == (3, *SHAPE)
    np.testing.assert_allclose(three, 3 * one, rtol=1e-6)


def test_the_identity_changes_nothing():
    image = np.random.default_rng(6).uniform(size=(2, 9, 10, 11)).astype(np.float32)
    np.testing.assert_allclose(warp(image, np.eye(3), np.zeros(3)), image, atol=1e-5)


def test_a_whole_shift_moves_voxels_and_brings_zeros_in():
    image = np.random.default_rng(7).uniform(1, 2, (1, 8, 9, 10)).astype(np.float32)
    moved = warp(image, np.eye(3), np.array([0.0, 0.0, 2.0]))
    np.testing.assert_allclose(moved[0, :, :, :-2], image[0, :, :, 2:], atol=1e-4)
    np.testing.assert_allclose(moved[0, :, :, -2:], 0, atol=1e-4)


def test_a_displacement_does_what_the_same_shift_does():
    image = np.random.default_rng(8).uniform(size=(1, 8, 9, 10)).astype(np.float32)
    shift = np.array([0.5, -1.0, 0.25])
    field = np.broadcast_to(shift[:, None, None, None], (3, 8, 9, 10)).astype(np.float32)
    np.testing.assert_allclose(
        warp(image, np.eye(3), np.zeros(3), field.copy()), warp(image, np.eye(3), shift), atol=1e-5
    )


def test_a_quarter_turn_is_numpys():
    image = np.random.default_rng(9).uniform(size=(1, 8, 8, 5)).astype(np.float32)
    # The image at (x, y) is taken from (-y, x) around the centre.
    turned = warp(image, np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), np.zeros(3))
    np.testing.assert_allclose(turned[0], np.rot90(image[0], -1, axes=(0, 1)), atol=1e-4)


def test_halving_the_coordinates_doubles_a_bar():
    image = np.zeros((1, 41, 5, 5), dtype=np.float32)
    image[0, 15:26] = 1
    doubled = warp(image, np.diag([0.5, 1, 1]), np.zeros(3))
    assert doubled[0, :, 2, 2].sum() == pytest.approx(2 * 11, abs=0.1)
