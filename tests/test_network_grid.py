"""The way to the network's grid and back: exact where nothing is resampled, by hand where something is."""

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform

from lesionwise.network_grid import antialiasing_sigma_voxels, network_grid


def random(shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def box_mask(shape, lower, upper):
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(a, b) for a, b in zip(lower, upper, strict=True))] = True
    return mask


def test_a_one_mm_canonical_scan_is_only_cropped():
    scan = random((20, 21, 22))
    mask = box_mask(scan.shape, (5, 6, 7), (15, 14, 13))
    grid = network_grid(mask, np.eye(4), margin_mm=2, smallest=1)
    assert grid.shape == (14, 12, 10)
    np.testing.assert_allclose(grid.affine[:3, 3], (3, 4, 5))
    np.testing.assert_allclose(grid.to_network(scan), scan[3:17, 4:16, 5:15], rtol=1e-6)


def test_short_axes_grow_on_both_sides_with_zeros():
    scan = np.abs(random((10, 20, 20))) + 1
    mask = np.ones(scan.shape, dtype=bool)
    grid = network_grid(mask, np.eye(4), margin_mm=0, smallest=16)
    assert grid.shape == (16, 20, 20)
    brought = grid.to_network(scan)
    np.testing.assert_allclose(brought[3:13], scan, rtol=1e-6)
    assert not brought[:3].any()
    assert not brought[13:].any()


def test_thick_slices_are_interpolated_linearly():
    scan = np.zeros((16, 16, 3), dtype=np.float32)
    scan[..., 1], scan[..., 2] = 3, 9
    grid = network_grid(np.ones(scan.shape, dtype=bool), np.diag([1, 1, 3, 1.0]), margin_mm=0, smallest=1)
    np.testing.assert_allclose(grid.to_network(scan)[8, 8], [0, 1, 2, 3, 5, 7, 9], atol=1e-5)


def test_fine_voxels_are_smoothed_before_every_second_is_taken():
    stripes = np.zeros((32, 16, 16), dtype=np.float32)
    stripes[::2] = 1
    grid = network_grid(
        np.ones(stripes.shape, dtype=bool), np.diag([0.5, 1, 1, 1.0]), margin_mm=0, smallest=1
    )
    kernel = np.exp(-(np.arange(-2, 3) ** 2) / (2 * 0.5**2))
    smooth = kernel[::2].sum() / kernel.sum()
    np.testing.assert_allclose(grid.to_network(stripes)[4:12, 8, 8], smooth, atol=1e-3)
    assert antialiasing_sigma_voxels(2) == 0.5
    assert antialiasing_sigma_voxels(1 / 3) == 0


@pytest.mark.parametrize("codes", ["LPS", "ASR", "PIL"])
def test_storage_order_changes_nothing_on_the_network_grid_and_comes_back(codes):
    scan = random((20, 22, 18))
    affine = np.diag([0.8, 1, 2, 1.0])
    mask = box_mask(scan.shape, (4, 5, 4), (16, 17, 14))
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    turned_scan, turned_mask = apply_orientation(scan, turn), apply_orientation(mask, turn)
    turned_affine = affine @ inv_ornt_aff(turn, scan.shape)
    grid = network_grid(mask, affine, margin_mm=2, smallest=16)
    turned_grid = network_grid(turned_mask, turned_affine, margin_mm=2, smallest=16)
    array = grid.to_network(scan)
    np.testing.assert_array_equal(turned_grid.to_network(turned_scan), array)
    np.testing.assert_array_equal(turned_grid.to_scan(array), apply_orientation(grid.to_scan(array), turn))


def test_there_and_back_is_the_identity_for_a_one_mm_scan_within_the_grid():
    scan = random((24, 24, 24))
    affine = np.array([[0, -1, 0, 3], [0, 0, 1, 4], [1, 0, 0, 5], [0, 0, 0, 1.0]])
    mask = box_mask(scan.shape, (4, 4, 4), (20, 20, 20))
    grid = network_grid(mask, affine, margin_mm=0, smallest=1)
    np.testing.assert_allclose(grid.to_scan(grid.to_network(scan)), np.where(mask, scan, 0), atol=1e-6)


def test_a_linear_ramp_in_mm_is_the_same_ramp_on_the_network_grid():
    """World coordinates agree: each network voxel's affine position is what the ramp says there."""
    shape = (30, 40, 12)
    affine = nib.affines.from_matvec(np.array([[-0.7, 0, 0], [0, -0.7, 0], [0, 0, 3]]), [10, 20, -15])
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    ramp = nib.affines.apply_affine(affine, voxels)
    mask = box_mask(shape, (8, 8, 3), (22, 32, 9))
    grid = network_grid(mask, affine, margin_mm=1, smallest=1)
    voxels = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    expected = nib.affines.apply_affine(grid.affine, voxels)
    for axis in range(3):
        brought = grid.to_network(ramp[..., axis].astype(np.float32))
        np.testing.assert_allclose(brought, expected[..., axis], atol=1e-3)


def test_a_brain_keeps_its_intensity_up_to_its_edge():
    """What lies outside the mask, bright or dark, does not reach the network."""
    shape = (30, 30, 10)
    mask = box_mask(shape, (5, 5, 2), (25, 25, 8))
    grid = network_grid(mask, np.diag([0.7, 0.7, 3, 1.0]), margin_mm=4, smallest=1)
    for outside in (0, 50):
        brain, inside = grid.brain_to_network(np.where(mask, 7, outside).astype(np.float32), mask)
        np.testing.assert_allclose(brain[inside], 7, rtol=1e-5)
        assert not brain[~inside].any()
    assert inside.sum() == pytest.approx(mask.sum() * 0.7 * 0.7 * 3, rel=0.1)


def test_an_empty_mask_is_refused():
    with pytest.raises(ValueError, match="empty mask"):
        network_grid(np.zeros((8, 8, 8), dtype=bool), np.eye(4))
