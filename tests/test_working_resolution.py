"""Scans finer than the network's voxels: joined for the work, and outputs on the grid as read."""

import json
import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from small_case import AFFINE, new_lesions, write_case, write_weights
from stored_otherwise import dice

from lesionwise.case_files import Case
from lesionwise.challenge_layout import GROUND_TRUTH, TIME1, TIME2
from lesionwise.engine import Settings
from lesionwise.errors import PreprocessingError
from lesionwise.pipeline import segment_case
from lesionwise.prepared_case import prepare_pair
from lesionwise.preprocessing.recipe import Recipe
from lesionwise.progress import Progress
from lesionwise.report.case_images import case_images
from lesionwise.scan_pair import ScanPair, Study
from lesionwise.volume import Volume, on_grid, to_orientation
from lesionwise.working_resolution import at_working_resolution, joined_voxels, outputs_as_read
from train.patients import prepare


def volume(data, spacing_mm, origin=(0.0, 0.0, 0.0)):
    affine = nib.affines.from_matvec(np.diag(spacing_mm), origin)
    like = Volume(data, affine, nib.Nifti1Header(), "scan")
    return on_grid(np.asarray(data, dtype=np.float32), affine, like)


@pytest.mark.parametrize(
    ("spacing_mm", "joined"),
    [
        ((1.0, 1.0, 1.0), (1, 1, 1)),
        ((0.51, 0.6, 3.0), (1, 1, 1)),
        ((0.5, 0.5, 0.9), (2, 2, 1)),
        ((0.5004, 0.34, 0.25), (2, 2, 4)),
        ((0.3333, 0.33334, 0.4), (3, 3, 2)),
    ],
)
def test_as_many_voxels_are_joined_as_fit_into_a_millimetre(spacing_mm, joined):
    assert joined_voxels(spacing_mm) == joined


def test_most_pairs_stay_what_they_are():
    scan = volume(np.zeros((4, 4, 4)), (1.0, 0.7, 3.0))
    pair = at_working_resolution(ScanPair(scan, scan, scan))
    assert pair.time1 is scan
    assert pair.brain is scan


def test_blocks_of_a_fine_scan_become_their_means_where_they_were():
    # Axes run left, posterior, superior: the working order, so that blocks begin at the first voxel.
    data = np.arange(4 * 2 * 3, dtype=np.float32).reshape(4, 2, 3)
    scan = volume(data, (-0.5, -0.5, 1.0))
    joined = at_working_resolution(ScanPair(scan, scan)).time1
    by_hand = [[(data[0, 0] + data[1, 0] + data[0, 1] + data[1, 1]) / 4], [data[2:].mean(axis=(0, 1))]]
    np.testing.assert_allclose(joined.data, by_hand)
    np.testing.assert_allclose(joined.affine[:3, 3], [-0.25, -0.25, 0])  # the first block's middle
    assert joined.spacing_mm == (1.0, 1.0, 1.0)


def test_an_odd_last_plane_is_a_block_of_its_own():
    scan = volume(np.arange(5, dtype=np.float32).reshape(5, 1, 1), (-0.5, -1.0, 1.0))
    np.testing.assert_allclose(at_working_resolution(ScanPair(scan, scan)).time1.data.ravel(), [0.5, 2.5, 4])


def test_the_way_a_scan_is_stored_changes_nothing():
    data = np.random.default_rng(1).random((5, 6, 7), dtype=np.float32)
    scan = volume(data, (0.5, 0.5, 0.5), (3.0, 4.0, 5.0))
    pairs = [at_working_resolution(ScanPair(v, v)) for v in (scan, to_orientation(scan, "PIR"))]
    np.testing.assert_array_equal(pairs[0].time1.data, pairs[1].time1.data)
    np.testing.assert_allclose(pairs[0].time1.affine, pairs[1].time1.affine)


def test_what_is_found_comes_back_to_its_place_in_the_scan_as_read():
    shape = (12, 10, 8)
    # A straight slope stays one, through means and back; the outermost voxels take their joined voxel's value.
    slope = sum(np.meshgrid(*map(np.arange, shape), indexing="ij")).astype(np.float32)
    scan = volume(slope, (0.5, 0.5, 0.5))
    pair = ScanPair(scan, scan)
    joined = at_working_resolution(pair)
    study = Study(joined.time1, joined.time2, joined.time1, joined.time1, "given")
    output = outputs_as_read(study, joined, pair)
    assert output.output is scan
    inner = (slice(1, -1),) * 3
    back = output.to_output(joined.time1.data)
    np.testing.assert_allclose(back[inner], slope[inner], rtol=1e-5)
    # Of the first block, 0 to 3 along the three axes together, the mean is 1.5; of the last, 26 to 29 - 3 = 24 to 27, 25.5.
    assert (back[0, 0, 0], back[-1, -1, -1]) == pytest.approx((1.5, 25.5))
    ones = np.ones_like(joined.time1.data)
    np.testing.assert_allclose(
        output.to_output(ones), 1
    )  # a brain that touches the border is found there, too


def test_outputs_on_another_grid_stay_there():
    scan = volume(np.zeros((4, 4, 4)), (0.5, 0.5, 0.5))
    pair = ScanPair(scan, scan)
    joined = at_working_resolution(pair)
    halfway = replace(joined.time1)
    study = Study(halfway, halfway, halfway, halfway, "given")
    assert outputs_as_read(study, joined, pair) is study


def test_a_report_shows_fine_scans_as_read():
    shape = (16, 16, 16)
    stripes = np.where(np.indices(shape)[0] % 2, 150, 50)  # of which nothing is left in voxels of 1 mm
    scan = volume(stripes, (0.5, 0.5, 0.5))
    pair = ScanPair(scan, scan, replace(scan, data=np.ones(shape, dtype=bool)))
    joined = at_working_resolution(pair)
    study = outputs_as_read(
        Study(joined.time1, joined.time2, joined.brain, joined.time1, "given"), joined, pair
    )
    shown = case_images(study, pair, np.zeros(shape, dtype=bool), np.zeros(shape, dtype=np.float32))
    for image in (shown.time1, shown.time2):
        assert len(np.unique(image)) == 2
        assert np.all(image[1::2] > 2.5 * image[::2])


def test_a_brain_mask_is_what_is_more_than_half_inside():
    scan = volume(np.zeros((4, 4, 4)), (0.5, 0.5, 0.5))
    inside = np.zeros((4, 4, 4), dtype=bool)
    inside[:2, :2, :2] = True
    inside[2:, :2, :1] = True  # half of a block
    joined = at_working_resolution(ScanPair(scan, scan, replace(scan, data=inside)))
    assert joined.brain is not None
    assert joined.brain.data.dtype == bool
    assert joined.brain.data.sum() == 1


def test_a_brain_mask_too_thin_for_the_work_is_told():
    scan = volume(np.zeros((4, 4, 4)), (0.5, 0.5, 0.5))
    inside = np.zeros((4, 4, 4), dtype=bool)
    inside[:, :, 2] = True  # half of each block
    with pytest.raises(PreprocessingError, match="so thin"):
        at_working_resolution(ScanPair(scan, scan, replace(scan, data=inside)))


def test_a_brain_mask_too_thin_for_the_networks_grid_is_told():
    # The planes of 1 mm around one plane of 0.68 mm are a third and less inside.
    scan = volume(1 + np.random.default_rng(1).random((24, 24, 24)), (0.68, 0.68, 0.68))
    inside = np.zeros(scan.data.shape, dtype=bool)
    inside[:, :, 12] = True
    brain, bare = replace(scan, data=inside), Recipe(bias_correction=False, denoising=False)
    with pytest.raises(PreprocessingError, match="so thin"):
        prepare_pair(scan, scan, brain, bare, 1, Progress())


def split_in_four(path, target):
    """Write an image with each voxel split along its first two axes: the same image in voxels of half their size."""
    image = nib.load(path)
    split = np.kron(np.asarray(image.dataobj), np.ones((2, 2, 1), dtype=image.get_data_dtype()))
    affine = image.affine @ np.array([[0.5, 0, 0, -0.25], [0, 0.5, 0, -0.25], [0, 0, 1, 0], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(split, affine), target)
    return target


def test_a_case_whose_voxels_were_split_has_the_same_lesions_on_its_own_grid(tmp_path):
    paths = write_case(tmp_path)
    fine = [split_in_four(path, tmp_path / f"fine_{path.name}") for path in paths]
    settings = Settings(weights=write_weights(tmp_path / "weights"), device="cpu")
    masks = []
    for number, (time1, time2, brain) in enumerate((paths, fine)):
        names = [tmp_path / f"{number}{kind}" for kind in (".nii.gz", "_p.nii.gz", ".json")]
        case = Case(time1, time2, *names, brain_mask=brain)
        segment_case(case, settings, Progress())
        masks.append(np.asarray(nib.load(case.output).dataobj) > 0)
        outside = np.asarray(nib.load(brain).dataobj) == 0
        assert not np.asarray(nib.load(names[1]).dataobj)[outside].any()
    assert nib.load(case.output).shape == nib.load(fine[0]).shape
    np.testing.assert_array_equal(nib.load(case.output).affine, nib.load(fine[0]).affine)
    assert dice(masks[1], np.kron(masks[0], np.ones((2, 2, 1), dtype=bool))) > 0.9
    assert dice(masks[1], np.kron(new_lesions(), np.ones((2, 2, 1), dtype=bool))) > 0.8
    table = json.loads((tmp_path / "1.json").read_text())
    assert table["scans"]["time1"]["voxel_mm"] == [0.5, 0.5, 1.2]  # as read


def test_a_patient_whose_voxels_were_split_is_the_same_training_material(tmp_path):
    coarse, fine = tmp_path / "coarse", tmp_path / "fine"
    coarse.mkdir()
    fine.mkdir()
    names = (TIME1, TIME2, "brain.nii.gz")
    for file, name in zip(write_case(tmp_path), names, strict=True):
        shutil.move(file, coarse / name)
    nib.save(nib.Nifti1Image(new_lesions().astype(np.uint8), AFFINE), coarse / GROUND_TRUTH)
    for name in (*names, GROUND_TRUTH):
        split_in_four(coarse / name, fine / name)
    one, other = (prepare(folder, brain_file="brain.nii.gz") for folder in (coarse, fine))
    assert one.new_lesions.any()
    for name in ("time1", "time2", "brain", "new_lesions", "old_lesions"):
        np.testing.assert_allclose(getattr(other, name), getattr(one, name), atol=1e-4, err_msg=name)
