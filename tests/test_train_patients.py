"""Patients in the challenge's layout as training material."""

import shutil

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from small_case import AFFINE, SHAPE, brain, new_lesions, write_case

from lesionwise.challenge_layout import GROUND_TRUTH, TIME1, TIME2
from lesionwise.errors import InputError, PreprocessingError
from train import patients
from train.metric_network.real_masks import truths_of_patients
from train.patches import PatchSettings
from train.sources import open_sources


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return a folder of two patients and of one without truth."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("patient013", "patient016", "patient099"):
        (folder / name).mkdir()
        files = write_case(folder / name)
        for file, new_name in zip(files, (TIME1, TIME2, "brain.nii.gz"), strict=True):
            shutil.move(file, folder / name / new_name)
        if name != "patient099":
            truth = nib.Nifti1Image(new_lesions().astype(np.uint8), AFFINE)
            nib.save(truth, folder / name / GROUND_TRUTH)
    return folder


@pytest.fixture(scope="module")
def pair(data):
    return patients.prepare(data / "patient013", brain_file="brain.nii.gz")


def test_only_complete_patients_are_found(data):
    assert [p.name for p in patients.find_patients(data)] == ["patient013", "patient016"]


def test_a_folder_without_patients_is_refused(tmp_path):
    with pytest.raises(InputError, match="ground_truth"):
        patients.find_patients(tmp_path)


def test_every_fifth_patient_is_held_out(tmp_path):
    folders = [tmp_path / str(k) for k in range(12)]
    training, held_out = patients.training_and_held_out(folders, fold=1)
    assert [f.name for f in held_out] == ["1", "6", "11"]
    assert sorted([*training, *held_out]) == sorted(folders)


@pytest.mark.parametrize(("count", "fold"), [(1, 0), (1, 1), (3, 4)])
def test_a_fold_without_patients_to_train_with_or_to_hold_out_is_refused(tmp_path, count, fold):
    folders = [tmp_path / str(k) for k in range(count)]
    with pytest.raises(InputError, match=f"--fold {fold} of {count} patients"):
        patients.training_and_held_out(folders, fold)


def test_a_patient_is_brought_to_1_mm_right_anterior_superior(pair):
    volume_mm3 = new_lesions().sum() * 1.2
    assert pair.new_lesions.sum() == pytest.approx(volume_mm3, rel=0.25)
    assert pair.brain.sum() == pytest.approx(brain().sum() * 1.2, rel=0.05)
    assert min(pair.time1.shape) >= 64
    # Of the brain's middle, voxel (21.5, 23.5, 19.5), the lesion at (16, 20, 18) lies 5.5 voxels to the right and 3.5 before
    # (the case's first two axes run left and posterior), and 1.5 voxels of 1.2 mm below; the one at (28, 30, 24) opposite.
    middle = np.argwhere(pair.brain).mean(axis=0)
    lesions, count = ndimage.label(pair.new_lesions)
    assert count == 2
    centres_mm = sorted(tuple(np.argwhere(lesions == number).mean(axis=0) - middle) for number in (1, 2))
    np.testing.assert_allclose(centres_mm, [(-6.5, -6.5, 5.4), (5.5, 3.5, -1.8)], atol=0.6)
    assert SHAPE[2] * 1.2 < pair.time1.shape[2]


def test_intensities_are_normalised_as_at_inference(pair):
    for image in (pair.time1, pair.time2):
        assert np.median(image[pair.brain]) == pytest.approx(1, abs=0.05)
    assert np.median((pair.time2 - pair.time1)[pair.new_lesions]) > 0.3


def test_bright_spots_of_time_1_stand_in_for_old_lesions(pair):
    assert pair.old_lesions.any()
    assert not (pair.old_lesions & pair.new_lesions).any()


def test_prepared_patients_are_kept_until_their_scans_change(data, tmp_path, monkeypatch, pair):
    prepared = []
    monkeypatch.setattr(patients, "prepare", lambda patient, *_a: prepared.append(patient) or pair)
    first = patients.cached(data / "patient013", tmp_path)
    assert patients.cached(data / "patient013", tmp_path) == first
    assert len(prepared) == 1
    kept = patients.load(first)
    assert np.array_equal(kept.new_lesions, pair.new_lesions)
    np.testing.assert_allclose(kept.time2, pair.time2, rtol=1e-3, atol=1e-3)
    other_truth = {"truth_file": TIME2, "brain_file": "brain.nii.gz"}
    assert patients.cached(data / "patient013", tmp_path, **other_truth) != first
    assert len(prepared) == 2
    scan = data / "patient013" / TIME1
    scan.write_bytes(scan.read_bytes())  # another time of change
    assert patients.cached(data / "patient013", tmp_path) != first


def test_patches_come_from_patients_and_the_held_out_ones_apart(data, tmp_path, monkeypatch, pair):
    monkeypatch.setattr(patients, "prepare", lambda *_a: pair)
    sources = open_sources(None, (), data, tmp_path, fold=0, synthetic_share=0.0)
    assert [p.name.split("-")[0] for p in sources.patients] == ["patient016"]
    assert [p.name.split("-")[0] for p in sources.held_out_patients] == ["patient013"]
    images, truth = sources.held_out(PatchSettings(size=16, around_new=1.0), 8, seed=1)
    assert images.shape == (8, 2, 16, 16, 16)
    assert truth.any(dim=(1, 2, 3)).all()


def test_a_patient_whose_brain_is_not_found_is_named_with_advice_that_training_has(
    data, tmp_path, monkeypatch, capsys
):
    threads = []

    def fail(_patient, count, *_others):
        threads.append(count)
        raise PreprocessingError("time 1: no brain was found", "give --brain-mask FILE")

    monkeypatch.setattr(patients, "prepare", fail)
    with pytest.raises(
        PreprocessingError, match=f"^patient016: time 1: no brain was found; {patients.ADVICE}$"
    ):
        open_sources(None, (), data, tmp_path, fold=0, synthetic_share=0.0, threads=3)
    assert threads == [3]
    assert capsys.readouterr().err == "preparing patient016\n"


def test_warnings_of_a_preparation_are_told(data, monkeypatch, capsys):
    def found(time1, time2, threads, warn):
        warn("the atlas had to do")
        raise PreprocessingError("enough")

    monkeypatch.setattr(patients, "find_brain", found)
    with pytest.raises(PreprocessingError, match="enough"):
        patients.prepare(data / "patient013")
    assert "warning: the atlas had to do" in capsys.readouterr().err


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_backgrounds_that_have_no_effect_are_told_of(data, tmp_path, monkeypatch, pair, capsys, share):
    monkeypatch.setattr(patients, "prepare", lambda *_a: pair)
    (tmp_path / "scan.npz").touch()
    open_sources(tmp_path, (), data, tmp_path / "cache", fold=0, synthetic_share=share)
    assert ("--backgrounds has no effect" in capsys.readouterr().err) == (share == 0)


def test_data_without_a_cache_is_refused(data):
    with pytest.raises(InputError, match="--cache"):
        open_sources(None, (), data, None, 0, 0.0)


def test_truths_serve_as_masks_for_the_metric_network_apart_as_in_stage_2(data, tmp_path):
    shutil.copytree(data, tmp_path, dirs_exist_ok=True)
    smaller = new_lesions() & (np.arange(SHAPE[0]) < SHAPE[0] // 2)[:, None, None]
    nib.save(nib.Nifti1Image(smaller.astype(np.uint8), AFFINE), tmp_path / "patient016" / GROUND_TRUTH)
    volumes_mm3 = [1.2 * truth.sum() for truth in (new_lesions(), smaller)]
    assert volumes_mm3[1] < 0.7 * volumes_mm3[0]
    for fold in (0, 1):
        training, held_out = truths_of_patients(tmp_path, fold)
        assert [mask.sum() for mask in held_out] == pytest.approx([volumes_mm3[fold]], rel=0.25)
        assert [mask.sum() for mask in training] == pytest.approx([volumes_mm3[1 - fold]], rel=0.25)
