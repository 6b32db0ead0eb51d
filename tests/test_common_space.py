"""The half-way space: half a motion twice is the whole, both scans meet there, and what goes there comes back."""

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.transform import Rotation

from lesionwise.common_space import half_of, halfway_space, inverse, resample
from lesionwise.errors import InputError
from lesionwise.volume import Volume

SHAPE = (40, 36, 30)


def motion(degrees, axis=(1, 2, -1), shift=(0.0, 0.0, 0.0)):
    made = np.eye(4)
    made[:3, :3] = Rotation.from_rotvec(
        np.radians(degrees) * np.array(axis) / np.linalg.norm(axis)
    ).as_matrix()
    made[:3, 3] = shift
    return made


def volume(data, affine):
    header = nib.Nifti1Header()
    header.set_data_shape(data.shape)
    header["pixdim"][1:4] = nib.affines.voxel_sizes(affine)
    return Volume(data, affine, header)


def blob(affine, centre_mm=(0.0, 0.0, 0.0), shape=SHAPE):
    """A smooth bright ball with a dent, at a place in mm, on any grid."""
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    place = nib.affines.apply_affine(affine, voxels) - centre_mm
    image = 100 * np.exp(-(place**2).sum(axis=-1) / 2 / 7**2)
    image -= 60 * np.exp(-((place - [4, 0, 0]) ** 2).sum(axis=-1) / 2 / 4**2)
    return image.astype(np.float32)


def centred(spacing, shape=SHAPE):
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -np.array(spacing) * (np.array(shape) - 1) / 2
    return affine


@given(st.floats(-170, 170), st.tuples(*[st.floats(-1, 1)] * 3), st.tuples(*[st.floats(-60, 60)] * 3))
def test_half_a_motion_twice_is_the_whole(degrees, axis, shift):
    if np.linalg.norm(axis) < 0.1:
        axis = (0, 0, 1)
    whole = motion(degrees, axis, shift)
    half = half_of(whole)
    np.testing.assert_allclose(half @ half, whole, atol=1e-9)
    np.testing.assert_allclose(half[:3, :3] @ half[:3, :3].T, np.eye(3), atol=1e-12)


def test_half_of_known_motions():
    np.testing.assert_allclose(half_of(motion(0, shift=(4, -6, 2))), motion(0, shift=(2, -3, 1)), atol=1e-12)
    np.testing.assert_allclose(half_of(motion(40)), motion(20), atol=1e-12)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SAL"])
def test_both_scans_meet_half_way_and_the_mask_comes_back(codes):
    moved = motion(20, shift=(6, -8, 5))
    grid1, grid2 = centred((1, 1, 1.3)), moved @ centred((1.2, 1, 1))
    image1, image2 = blob(grid1), blob(inverse(moved) @ grid2)
    turned = nib.Nifti1Image(image2, grid2).as_reoriented(
        nib.orientations.ornt_transform(
            nib.orientations.io_orientation(grid2), nib.orientations.axcodes2ornt(codes)
        )
    )
    time1, time2 = volume(image1, grid1), volume(np.asarray(turned.dataobj), turned.affine)
    brain1, brain2 = volume(time1.data > 20, time1.affine), volume(time2.data > 20, time2.affine)
    space = halfway_space(brain1, brain2, moved)
    np.testing.assert_allclose(nib.affines.voxel_sizes(space.affine), (1, 1, 1), atol=1e-9)

    first, second = space.scan(time1, space.to_time1), space.scan(time2, space.to_time2)
    assert first.data.shape == second.data.shape == space.shape
    inside = space.mask(brain1, space.to_time1).data
    assert np.abs(first.data - second.data)[inside].max() < 4  # of 100
    for array, scan, to_scan, brain in (
        (first.data, time1, space.to_time1, brain1),
        (second.data, time2, space.to_time2, brain2),
    ):
        back = space.back(np.where(inside, array, 0), scan, to_scan)
        assert back.shape == scan.data.shape
        deep = ndimage.binary_erosion(brain.data, iterations=3)
        assert np.abs(back - scan.data)[deep].max() < 6


def test_both_scans_are_interpolated_alike():
    # A shift of half a voxel: each goes a quarter, the one back, the other forth.
    moved = motion(0, shift=(0.5, 0, 0))
    grid = centred((1, 1, 1))
    scan = volume(blob(grid), grid)
    brain = volume(scan.data > 20, grid)
    space = halfway_space(brain, brain, moved)
    np.testing.assert_allclose(space.to_time1[:3, 3], (-0.25, 0, 0), atol=1e-12)
    np.testing.assert_allclose(space.to_time2[:3, 3], (0.25, 0, 0), atol=1e-12)


@pytest.mark.parametrize("shift", [(0.5, 0, 0), (0, 0, -0.5), (0.3, -1.6, 0.5)])
def test_interpolation_leaves_both_scans_the_same_noise(shift):
    grid, noise = centred((1, 1, 1)), np.random.default_rng(1)
    time1, time2 = (volume(noise.normal(size=SHAPE).astype(np.float32), grid) for _ in range(2))
    brain = volume(np.ones(SHAPE, dtype=bool), grid)
    space = halfway_space(brain, brain, motion(0, shift=shift))
    seen = ndimage.binary_erosion(space.mask(brain, space.to_time1).data, iterations=3)
    first = space.scan(time1, space.to_time1).data[seen].var()
    second = space.scan(time2, space.to_time2).data[seen].var()
    assert first == pytest.approx(second, rel=0.03)
    if np.count_nonzero(shift) == 1:  # of two neighbours, a quarter and three quarters
        assert first == pytest.approx(0.25**2 + 0.75**2, rel=0.03)


@pytest.mark.parametrize("steps", [(0, 0, 0), (1, 0, 0), (-3, 2, 1)])
def test_scans_whole_voxels_apart_are_not_interpolated(steps):
    spacing = np.array((0.72, 0.9, 3.0))
    grid = motion(25) @ centred(spacing)
    moved = np.eye(4)
    moved[:3, 3] = grid[:3, :3] @ steps
    scan = volume(np.random.default_rng(1).random(SHAPE, dtype=np.float32), grid)
    brain = volume(np.ones(SHAPE, dtype=bool), grid)
    space = halfway_space(brain, brain, moved)
    for to_scan in (space.to_time1, space.to_time2):
        there = space.scan(scan, to_scan)
        inside = space.mask(brain, to_scan).data
        assert np.array_equal(np.sort(there.data[inside]), np.sort(scan.data.ravel()))
        np.testing.assert_array_equal(space.back(there.data, scan, to_scan), scan.data)


@pytest.mark.parametrize("spacing2", [(1, 1, 1), (1.2, 1, 3)])
@pytest.mark.parametrize("degrees", [0, 7])
@pytest.mark.parametrize("shift", [(0, 0, 0), (0.5, -1.5, 0.5), (0.25, 0, 0.75), (3.1, 0.4, -2.2)])
def test_swapped_scans_meet_on_the_same_grid(spacing2, degrees, shift):
    moved = motion(degrees, shift=shift)
    grid1, grid2 = centred((1, 1, 1)), centred(spacing2)
    brain1, brain2 = (volume(blob(grid, (0, 0, x)) > 20, grid) for grid, x in ((grid1, 0), (grid2, 0.5)))
    space, swapped = halfway_space(brain1, brain2, moved), halfway_space(brain2, brain1, inverse(moved))
    assert space.shape == swapped.shape
    np.testing.assert_allclose(space.affine, swapped.affine, atol=1e-9)
    np.testing.assert_allclose(space.to_time1, swapped.to_time2, atol=1e-12)


def test_the_grid_holds_both_brains_and_their_margin():
    moved = motion(12, shift=(7, -3, 2))
    brain1, brain2 = (volume(blob(grid) > 20, grid) for grid in (centred((1, 1, 1)), centred((1.2, 1, 2))))
    space = halfway_space(brain1, brain2, moved)
    for brain, to_scan in ((brain1, space.to_time1), (brain2, space.to_time2)):
        to_grid = inverse(to_scan @ space.affine) @ brain.affine
        voxels = nib.affines.apply_affine(to_grid, np.argwhere(brain.data))
        assert np.all(voxels >= 10 - 1e-6)  # voxels of 1 mm
        assert np.all(voxels <= np.array(space.shape) - 1 - 10 + 1e-6)


def test_what_a_scan_does_not_reach_is_zero():
    ones = np.ones((5, 5, 5), np.float32)
    moved = resample(ones, np.eye(4), motion(0, shift=(2, 0, 0)), (5, 5, 5), np.eye(4))
    np.testing.assert_array_equal(moved[:, 2, 2], (1, 1, 1, 0, 0))


def test_a_sheared_grid_gives_one_of_right_angles():
    grid = centred((1, 1, 1))
    sheared = grid.copy()
    sheared[:3, 1] += (0, 0, 0.3)
    brain = volume(blob(sheared) > 20, sheared)
    axes = halfway_space(brain, brain, np.eye(4)).affine[:3, :3]
    np.testing.assert_allclose(axes.T @ axes, np.diag(np.diag(axes.T @ axes)), atol=1e-9)


def test_headers_that_make_an_endless_grid_are_refused():
    brain = volume(np.zeros((2, 2, 2), dtype=bool), np.diag([500.0, 500.0, 500.0, 1.0]))
    brain.data[:] = True
    fine = volume(np.ones((2, 2, 2), dtype=bool), np.diag([0.5, 0.5, 0.5, 1.0]))
    with pytest.raises(InputError, match="common grid would have"):
        halfway_space(brain, fine, np.eye(4))
