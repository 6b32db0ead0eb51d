"""Lesions: components, sizes, numbers and the table, on masks small enough to work out by hand."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from lesionwise.calibration import tempered
from lesionwise.lesions import (
    OperatingPoint,
    find_lesions,
    label_lesions,
    lesion_table,
    longest_diameter,
    remove_small_lesions,
)

MM = (1.0, 1.0, 1.0)


def mask_of(*voxels, shape=(6, 6, 6)):
    mask = np.zeros(shape, dtype=bool)
    for voxel in voxels:
        mask[voxel] = True
    return mask


def line(length, shape=(32, 3, 3)):
    return mask_of((slice(1, 1 + length), 1, 1), shape=shape)


def test_three_cubic_millimetres_are_dropped_and_four_kept():
    assert not remove_small_lesions(line(3), MM).any()
    assert remove_small_lesions(line(4), MM).sum() == 4


@pytest.mark.parametrize(
    ("spacing_mm", "least"),
    [
        ((0.5, 0.5, 1.5), 9),  # 8 voxels are 3.0 mm3 exactly
        ((0.5, 0.5, 1.2), 11),  # 10 voxels are 3.0 mm3 in double precision
        ((0.5, 0.5, float(np.float32(1.2))), 10),  # and 3.0000001 mm3 as a header holds them
        ((2.0, 2.0, 2.0), 1),
    ],
)
def test_a_lesion_is_strictly_larger_than_the_minimum(spacing_mm, least):
    assert not remove_small_lesions(line(least - 1), spacing_mm).any()
    assert remove_small_lesions(line(least), spacing_mm).sum() == least


def test_a_minimum_of_zero_keeps_single_voxels():
    assert remove_small_lesions(line(1), MM, minimal_volume_mm3=0).sum() == 1


def test_edges_and_corners_do_not_join():
    mask = mask_of((0, 0, 0), (1, 1, 0), (2, 2, 1))
    assert sorted(label_lesions(mask, MM, 0)[mask]) == [1, 2, 3]


def test_numbers_fall_with_size_and_ties_go_by_the_first_voxel_with_x_fastest():
    mask = mask_of((5, 0, 0), (0, 2, 0), (0, 0, 2), (slice(1, 4), 4, 4))
    labels = label_lesions(mask, MM, 0)
    assert labels[2, 4, 4] == 1
    assert [labels[5, 0, 0], labels[0, 2, 0], labels[0, 0, 2]] == [2, 3, 4]


def test_memory_order_and_number_type_do_not_matter():
    mask = np.random.default_rng(0).random((12, 13, 14)) > 0.6
    labels = label_lesions(mask, MM)
    assert np.array_equal(labels, label_lesions(np.asfortranarray(mask), MM))
    assert np.array_equal(labels, label_lesions(mask.astype(np.uint8) * 255, MM))


@pytest.mark.parametrize("filled", [False, True])
def test_empty_and_full_masks(filled):
    mask = np.full((4, 4, 4), filled)
    assert np.array_equal(label_lesions(mask, MM), mask.astype(np.int32))


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 0.7), st.floats(0, 8))
def test_labels_agree_with_plain_labelling(seed, density, minimal_volume_mm3):
    mask = np.random.default_rng(seed).random((7, 8, 9)) < density
    labels = label_lesions(mask, MM, minimal_volume_mm3)
    plain, count = ndimage.label(mask)
    kept = [n for n in range(1, count + 1) if (plain == n).sum() > minimal_volume_mm3]
    assert labels.max() == len(kept)
    for n in kept:
        assert len(set(labels[plain == n])) == 1
    sizes = np.bincount(labels.ravel(), minlength=1)[1:]
    assert np.all(np.diff(sizes) <= 0)
    assert np.array_equal(labels > 0, np.isin(plain, kept))


def test_the_table_of_two_lesions():
    mask = mask_of((slice(1, 3), slice(1, 3), slice(1, 3)), (5, 5, slice(0, 4)))
    probabilities = np.zeros(mask.shape, dtype=np.float32)
    probabilities[1:3, 1:3, 1:3] = 0.5
    probabilities[1, 1, 1] = 1.0
    probabilities[5, 5, :4] = 0.75
    spacing_mm = (1.0, 2.0, 3.0)
    affine = np.array([[-1, 0, 0, 10], [0, 2, 0, 20], [0, 0, 3, 30], [0, 0, 0, 1]], dtype=float)

    cube, rod = lesion_table(mask, probabilities, affine, spacing_mm)

    assert (cube.id, cube.voxels, cube.volume_mm3) == (1, 8, 48.0)
    assert cube.centre_mm == (10 - 1.5, 20 + 3.0, 30 + 4.5)
    assert (cube.mean_probability, cube.max_probability) == (0.5625, 1.0)
    assert cube.longest_diameter_mm == pytest.approx(np.sqrt(1 + 4 + 9))
    assert (rod.id, rod.voxels, rod.volume_mm3) == (2, 4, 24.0)
    assert rod.centre_mm == (5.0, 30.0, 34.5)
    assert rod.longest_diameter_mm == 9.0


def test_the_table_leaves_small_lesions_out():
    assert lesion_table(line(3), np.ones((32, 3, 3)), np.eye(4), MM) == []


@given(st.integers(0, 2**32 - 1), st.floats(0.3, 0.9))
def test_the_longest_diameter_is_that_of_all_pairs(seed, density):
    mask = np.random.default_rng(seed).random((5, 4, 6)) < density
    largest = label_lesions(mask, MM, 0) == 1
    points_mm = np.argwhere(largest) * [0.7, 1.3, 2.0]
    expected = max((np.linalg.norm(a - b) for a, b in combinations(points_mm, 2)), default=0.0)
    assert longest_diameter(points_mm) == pytest.approx(expected, abs=1e-12)


def test_a_flat_lesion_has_a_diameter():
    plate = np.argwhere(np.ones((4, 1, 5))) * [1.0, 1.0, 1.0]
    assert longest_diameter(plate) == 5.0


def test_a_lesion_must_be_sure_as_a_whole():
    probability = np.zeros((12, 3, 3), np.float32)
    probability[1:5, 1, 1] = np.array([2, 2, 2, 32]) / np.array(
        [3, 3, 3, 33]
    )  # odds: their geometric mean is 4, as of 0.8
    probability[7:11, 1, 1] = 0.79

    def lesions_at(certainty):
        return find_lesions(probability, MM, OperatingPoint(0.5, certainty))

    both = probability > 0.5
    for certainty in (0.0, 0.5, 0.785):
        np.testing.assert_array_equal(lesions_at(certainty), both)
    np.testing.assert_array_equal(lesions_at(0.795), both & (np.arange(12) < 6)[:, None, None])
    assert not lesions_at(0.805).any()
    assert not find_lesions(np.zeros_like(probability), MM, OperatingPoint(0.5, 0.8)).any()


def test_a_voxel_of_probability_one_does_not_make_a_lesion_sure():
    probability = np.zeros((12, 3, 3), np.float32)
    probability[1:9, 1, 1] = 0.6
    probability[1, 1, 1] = 1.0  # log odds without end
    assert find_lesions(probability, MM, OperatingPoint(0.5, 0.85)).any()
    assert not find_lesions(probability, MM, OperatingPoint(0.5, 0.95)).any()


@given(st.integers(0, 2**32 - 1), st.floats(0.5, 3.0))
def test_a_temperature_and_the_point_moved_alike_change_no_lesion(seed, temperature):
    probability = ndimage.gaussian_filter(np.random.default_rng(seed).random((12, 12, 12)), 1.5)
    probability = ((probability - probability.min()) / np.ptp(probability) * 0.98 + 0.01).astype(np.float32)
    threshold, certainty = (float(x) for x in tempered(np.array([0.7, 0.8]), temperature))
    found = find_lesions(probability, MM, OperatingPoint(0.7, 0.8))
    moved = find_lesions(tempered(probability, temperature), MM, OperatingPoint(threshold, certainty))
    assert (found != moved).sum() <= 0.01 * max(
        1, found.sum()
    )  # a voxel at the very threshold may round either way
