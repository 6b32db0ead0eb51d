"""What one scan did not reach is left out of the brain; dark voxels are not."""

import numpy as np

from lesionwise.preprocessing.field_of_view import seen_by_both


def test_missing_slices_and_their_neighbours_are_left_out() -> None:
    brain = np.zeros((20, 20, 20), dtype=bool)
    brain[4:16, 4:16, 4:16] = True
    time1, time2 = np.ones((2, 20, 20, 20), dtype=np.float32)
    time1[:, :, :6] = 0  # 12 x 12 x 2 voxels of the brain
    time2[15:, :, :] = 0  # 1 x 12 x 12 of it
    expected = brain.copy()
    expected[:, :, :7] = False
    expected[14:] = False
    np.testing.assert_array_equal(seen_by_both(time1, time2, brain, 1.0), expected)


def test_a_few_zeros_are_part_of_the_image() -> None:
    brain = np.ones((20, 20, 20), dtype=bool)
    time1, time2 = np.ones((2, 20, 20, 20), dtype=np.float32)
    time1[:4, 5:10, 5:9] = 0  # 80 voxels
    np.testing.assert_array_equal(seen_by_both(time1, time2, brain, 1.0), brain)
    assert (
        seen_by_both(time1, time2, brain, 2.0).sum() == brain.sum() - 5 * 7 * 6
    )  # 160 mm3, and their neighbours


def test_zeros_that_the_brain_encloses_are_clipped_fluid_and_not_the_end_of_the_scan() -> None:
    brain = np.zeros((20, 20, 20), dtype=bool)
    brain[2:18, 2:18, 2:18] = True
    time1, time2 = np.ones((2, 20, 20, 20), dtype=np.float32)
    time1[6:14, 6:14, 6:14] = 0  # as large as ventricles are
    np.testing.assert_array_equal(seen_by_both(time1, time2, brain, 1.0), brain)
    time1[6:14, 6:14, 2:6] = 0  # now it reaches the brain's edge
    assert seen_by_both(time1, time2, brain, 1.0).sum() == brain.sum() - 10 * 10 * 13
