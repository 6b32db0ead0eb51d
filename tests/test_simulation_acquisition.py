"""What a scan does: nothing where its parameters are neutral, and what it says where they are not."""

from dataclasses import replace

import numpy as np
import pytest
from small_anatomy import SHAPE, small_anatomy

from lesionwise.simulation.acquisition import Acquisition, acquire, coverage, in_slices

NEUTRAL = Acquisition(
    gamma=1.0,
    gamma_regional=0.0,
    grey_gain=0.0,
    slice_axis=2,
    slice_thickness_mm=1.0,
    slice_phase=0.0,
    in_plane_fwhm_mm=0.4,
    sharpening=0.0,
    noise=0.0,
    bias=0.0,
    ghost=0.0,
    shift_mm=(0.0, 0.0, 0.0),
    turn_rad=(0.0, 0.0, 0.0),
    elastic_mm=0.0,
)


def scanned(seed=1, **changes):
    head = small_anatomy()
    return acquire(head.flair, head.grey, replace(NEUTRAL, **changes), np.random.default_rng(seed))


def test_a_neutral_scan_shows_the_anatomy_itself():
    np.testing.assert_allclose(scanned(), np.clip(small_anatomy().flair, 1e-3, None), atol=1e-3)


def test_gamma_leaves_the_white_matter_peak_and_grey_gain_only_raises_grey():
    head = small_anatomy()
    white, grey, fluid = head.white > 0, head.grey > 0, head.fluid()
    image = scanned(gamma=2.0)
    assert image[white] == pytest.approx(1.0, abs=1e-3)
    assert image[grey] == pytest.approx(1.2**2, abs=1e-3)
    assert image[fluid] == pytest.approx(0.3**2, abs=1e-3)
    image = scanned(grey_gain=0.1)
    assert image[white] == pytest.approx(1.0, abs=1e-3)
    assert image[grey] == pytest.approx(1.2 * 1.1, abs=1e-3)


@pytest.mark.parametrize("noise", [0.01, 0.05])
def test_noise_has_the_asked_size_in_tissue_and_is_rayleigh_in_air(noise):
    image = scanned(noise=noise)
    white = small_anatomy().white > 0
    assert image[white].std() == pytest.approx(noise, rel=0.05)
    air = image[:, :, :3]
    assert air.mean() == pytest.approx(noise * np.sqrt(np.pi / 2), rel=0.05)
    assert (image >= 0).all()


def test_two_scans_differ_in_noise_alone_when_only_the_seed_differs():
    first, again, other = (scanned(seed, noise=0.02, bias=0.05) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_shift_of_a_voxel_moves_the_image_by_it():
    still, moved = scanned(), scanned(shift_mm=(1.0, 0.0, 0.0))
    np.testing.assert_allclose(moved[:-1], still[1:], atol=1e-3)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("thickness", [1.0, 1.2, 3.3, 5.0])
def test_slices_keep_a_constant_image_constant_and_its_shape(axis, thickness):
    scan = replace(
        NEUTRAL, slice_axis=axis, slice_thickness_mm=thickness, slice_phase=0.4, in_plane_fwhm_mm=1.5
    )
    seen = in_slices(np.full(SHAPE, 0.7, dtype=np.float32), scan)
    assert seen.shape == SHAPE
    np.testing.assert_allclose(seen, 0.7, rtol=1e-5)


def test_thick_slices_blur_across_them_and_not_along_them():
    image = np.zeros((20, 20, 20), dtype=np.float32)
    image[10:, :, :] = 1
    edges = [
        np.abs(
            np.diff(in_slices(image, replace(NEUTRAL, slice_axis=axis, slice_thickness_mm=4.0)), axis=0)
        ).max()
        for axis in (0, 2)
    ]
    assert edges[0] < 0.5
    assert edges[1] == pytest.approx(1.0, abs=1e-3)


def test_a_small_lesion_keeps_its_mass_through_slices_of_any_thickness():
    image = np.zeros((24, 24, 40), dtype=np.float32)
    image[11:13, 11:13, 19:22] = 1
    for thickness in (1.0, 2.0, 4.0):
        seen = [
            in_slices(image, replace(NEUTRAL, slice_thickness_mm=thickness, slice_phase=phase)).sum()
            for phase in np.arange(0, 1, 0.125)
        ]
        assert np.mean(seen) == pytest.approx(12, rel=0.03)


def test_slices_below_the_field_of_view_are_empty_and_those_above_as_ever():
    whole, cut = scanned(), scanned(missing_voxels=15)
    assert not cut[:, :, :15].any()
    np.testing.assert_array_equal(cut[:, :, 15:], whole[:, :, 15:])


def test_the_lowest_thick_slice_fades_in():
    scan = replace(NEUTRAL, missing_voxels=3, slice_thickness_mm=4.0)
    np.testing.assert_allclose(coverage((1, 1, 9), scan)[0, 0], [0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1])
    assert (coverage((1, 1, 9), NEUTRAL) == 1).all()


def test_a_second_scan_of_a_protocol_keeps_its_resolution_and_stays_near_its_contrast():
    rng = np.random.default_rng(8)
    for _ in range(30):
        first = Acquisition.random(rng)
        second = Acquisition.random(rng, first)
        kept = ("slice_axis", "slice_thickness_mm", "in_plane_fwhm_mm", "sharpening", "ringing")
        assert [getattr(second, name) for name in kept] == [getattr(first, name) for name in kept]
        assert abs(np.log(second.gamma / first.gamma)) < 0.2
        assert second.noise != first.noise


def test_ringing_overshoots_at_an_edge_along_one_axis_and_leaves_the_mean():
    image = np.zeros((40, 41, 40), dtype=np.float32)
    image[:, 10:30] = 1
    rung = acquire(image, image, replace(NEUTRAL, ringing=0.4), np.random.default_rng(1))
    plain = acquire(image, image, NEUTRAL, np.random.default_rng(1))
    assert plain.max() <= 1.001
    assert 1.03 < rung.max() < 1.15  # at most 9 % of a step, seen from both of its sides
    np.testing.assert_allclose(rung.mean(axis=1), plain.mean(axis=1), atol=0.02)


def test_an_anatomy_that_was_displaced_is_shown_displaced():
    image = np.zeros((12, 12, 12), dtype=np.float32)
    image[6] = 1
    displacement_mm = np.zeros((3, *image.shape), dtype=np.float32)
    displacement_mm[0] = 1.0
    seen = acquire(image, image, NEUTRAL, np.random.default_rng(1), displacement_mm)
    np.testing.assert_allclose(seen[5], 1, atol=1e-3)


def test_resampling_mixes_a_voxel_with_its_neighbours_along_an_axis():
    head = small_anatomy()
    sharp = np.clip(head.flair, 1e-3, None)
    neighbours = np.roll(sharp, 1, axis=1) + np.roll(sharp, -1, axis=1)
    inside = np.s_[:, 1:-1]
    np.testing.assert_allclose(
        scanned(resampled=(0.0, 0.2, 0.0))[inside], (0.6 * sharp + 0.2 * neighbours)[inside], atol=1e-3
    )
