"""A batch over a BIDS dataset: results are a derivative, and one that cannot begin or fails leaves nothing."""

import shutil

import nibabel as nib
import numpy as np
import pytest
from small_case import BRAIN_MASK
from written_tables import rows

from lesionwise import cli
from lesionwise.challenge_layout import TIME1
from lesionwise.engine import Engine


@pytest.mark.parametrize("there", [None, "notes.txt"])
def test_a_bids_batch_that_cannot_begin_leaves_nothing_and_what_was_there(dataset, tmp_path, capfd, there):
    if there:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / there).touch()
    with pytest.raises(SystemExit) as ended:
        cli.main(["batch", str(dataset), str(tmp_path / "out"), "--weights", str(tmp_path)])
    assert ended.value.code == 5
    left = [path.name for path in tmp_path.glob("out/*")]
    assert left == ([there] if there else [])
    assert (tmp_path / "out").exists() == bool(there)


def test_the_dataset_of_others_is_refused_before_the_network_is_loaded(dataset, tmp_path, capfd, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/dataset_description.json").write_text('{"Name": "Raw scans"}')
    monkeypatch.setattr(Engine, "start", lambda *_: 1 / 0)
    with pytest.raises(SystemExit) as ended:
        cli.main(["batch", str(dataset), str(tmp_path / "out")])
    assert ended.value.code == 2
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["dataset_description.json"]


def test_bids_results_are_a_derivative(dataset, patient, weights, tmp_path, monkeypatch, capfd):
    mask = np.asarray(nib.load(patient / BRAIN_MASK).dataobj) > 0
    monkeypatch.setattr("lesionwise.scan_pair.find_brain", lambda *_: (mask, "learned"))
    arguments = [
        "batch",
        dataset,
        tmp_path / "out",
        "--weights",
        weights,
        "--device",
        "cpu",
        "--quiet",
    ]
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in [*arguments, "--no-denoise", "--no-bias-correction"]])
    assert ended.value.code == 0
    assert capfd.readouterr() == ("", "")
    assert (tmp_path / "out/dataset_description.json").is_file()
    made = tmp_path / "out/sub-x/ses-2/anat/sub-x_ses-2_desc-newLesions_mask.nii.gz"
    assert np.asarray(nib.load(made).dataobj).any()


@pytest.mark.parametrize("more", [(), ("--prefetch",)])
def test_a_failing_bids_case_leaves_no_folder(patient, weights, tmp_path, monkeypatch, capfd, more):
    monkeypatch.setattr("lesionwise.scan_pair.find_brain", lambda *_: 1 / 0)
    for subject, session in (("x", "1"), ("x", "2"), ("y", "1"), ("y", "2"), ("y", "3")):
        folder = tmp_path / f"in/sub-{subject}/ses-{session}/anat"
        folder.mkdir(parents=True)
        shutil.copy(patient / TIME1, folder / f"sub-{subject}_ses-{session}_FLAIR.nii.gz")
    damaged = folder / "sub-y_ses-3_FLAIR.nii.gz"
    damaged.write_bytes(damaged.read_bytes()[:2000])
    (tmp_path / "in/sub-x/ses-2/anat/sub-x_ses-2_run-2_FLAIR.nii.gz").touch()  # which of the two is not clear
    shutil.copytree(tmp_path / "in/sub-y/ses-1", tmp_path / "in/sub-z/ses-1")  # nothing to compare with
    arguments = ["batch", tmp_path / "in", tmp_path / "out", "--weights", weights, "--device", "cpu", *more]
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in [*arguments, "--no-denoise", "--no-bias-correction"]])
    assert ended.value.code == 1
    assert "fewer than two sessions: sub-z\n" in capfd.readouterr().err
    assert {row["state"] for row in rows(tmp_path / "out/cohort.csv").values()} == {"failed"}
    assert not [path for path in (tmp_path / "out").iterdir() if path.is_dir()]
