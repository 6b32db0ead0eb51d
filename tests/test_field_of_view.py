"""What one scan did not reach is left out of the brain, whatever it was filled with; dark voxels are not."""

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lesionwise.challenge_layout import TIME1, TIME2
from lesionwise.errors import PreprocessingError
from lesionwise.preprocessing.field_of_view import seen_by_both
from lesionwise.progress import Progress
from lesionwise.scan_pair import leave_out_unseen
from lesionwise.volume import Volume, read_mask, read_volume

FILLS = (0.0, 0.003, -0.003, -1.0, -1024.0)
"""What other tools put where a scan ends: 0, 0 rounded to scaled integers, a number below the image."""


def two_scans() -> tuple[np.ndarray, np.ndarray]:
    """Return two images (x, y, z) of tissue of about 100, with noise."""
    time1, time2 = np.random.default_rng(0).normal(100, 3, (2, 20, 20, 20)).astype(np.float32)
    return time1, time2


@pytest.mark.parametrize("fill", FILLS)
def test_missing_slices_and_their_neighbours_are_left_out(fill: float) -> None:
    brain = np.zeros((20, 20, 20), dtype=bool)
    brain[4:16, 4:16, 4:16] = True
    time1, time2 = two_scans()
    time1[:, :, :6] = fill  # 12 x 12 x 2 voxels of the brain
    time2[15:, :, :] = fill  # 1 x 12 x 12 of it
    expected = brain.copy()
    expected[:, :, :7] = False
    expected[14:] = False
    np.testing.assert_array_equal(seen_by_both(time1, time2, brain, 1.0), expected)


@pytest.mark.parametrize("fill", FILLS)
def test_a_few_filled_voxels_are_part_of_the_image(fill: float) -> None:
    brain = np.ones((20, 20, 20), dtype=bool)
    time1, time2 = two_scans()
    time1[:4, 5:10, 5:9] = fill  # 80 voxels
    np.testing.assert_array_equal(seen_by_both(time1, time2, brain, 1.0), brain)
    assert (
        seen_by_both(time1, time2, brain, 2.0).sum() == brain.sum() - 5 * 7 * 6
    )  # 160 mm3, and their neighbours


def test_zeros_that_the_brain_encloses_are_clipped_fluid_and_not_the_end_of_the_scan() -> None:
    brain = np.zeros((20, 20, 20), dtype=bool)
    brain[2:18, 2:18, 2:18] = True
    time1, time2 = two_scans()
    time1[6:14, 6:14, 6:14] = 0  # as large as ventricles are
    np.testing.assert_array_equal(seen_by_both(time1, time2, brain, 1.0), brain)
    time1[6:14, 6:14, 2:6] = 0  # now it reaches the brain's edge
    assert seen_by_both(time1, time2, brain, 1.0).sum() == brain.sum() - 10 * 10 * 13


def test_dark_fluid_at_the_surface_is_no_gap() -> None:
    brain = np.zeros((20, 20, 20), dtype=bool)
    brain[2:18, 2:18, 2:18] = True
    time1, time2 = two_scans()
    noise = np.abs(np.random.default_rng(1).normal(0, 3, (20, 20, 20)))
    time1[:, :, :8] = np.rint(noise)[:, :, :8]  # 0 to 10, of which 0 and 1 are a quarter
    time2[:, :, :8] = noise[:, :, :8]
    np.testing.assert_array_equal(seen_by_both(time1, time2, brain, 1.0), brain)


@pytest.mark.parametrize("fill", FILLS)
def test_a_scan_without_any_of_the_brain_is_refused_by_its_name(fill: float) -> None:
    brain = np.zeros((20, 20, 20), dtype=bool)
    brain[4:16, 4:16, 4:16] = True
    time1, time2 = two_scans()
    time2[2:18, 2:18, 2:18] = fill
    one, two, mask = (Volume(data, np.eye(4), nib.Nifti1Header()) for data in (time1, time2, brain))
    with pytest.raises(PreprocessingError, match="mask time 2 is empty"):
        leave_out_unseen(one, two, mask, Progress())
    seen = leave_out_unseen(one, replace(two, data=time1), mask, progress := Progress())
    np.testing.assert_array_equal(seen.data, brain)
    assert not progress.warnings


@pytest.mark.shared
@pytest.mark.parametrize("patient", ["patient01", "patient19"])
def test_the_end_of_a_real_scan_is_seen_whatever_it_is_filled_with(shared: Path, patient: str) -> None:
    folder = shared / "data" / "ljubljana" / "pairs" / patient
    time1, time2 = read_volume(folder / TIME1), read_volume(folder / TIME2)
    brain = read_mask(folder / "brain_mask_flair.nii.gz").data
    np.testing.assert_array_equal(seen_by_both(time1.data, time2.data, brain, time1.voxel_mm3), brain)
    first = int(np.flatnonzero(brain.any(axis=(0, 1)))[0]) + 8
    found = []
    for fill in FILLS:
        ended = time1.data.copy()
        ended[:, :, :first] = fill
        found.append(seen_by_both(ended, time2.data, brain, time1.voxel_mm3))
    assert found[0].sum() < 0.97 * brain.sum()
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])
