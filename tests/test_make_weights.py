"""`make weights`: one command from scans and lesion shapes to exported weights, here by a recipe that learns nothing."""

import subprocess

import nibabel as nib
import numpy as np
import pytest

from lesionwise.simulation.anatomy import random_anatomy
from lesionwise.weights import REPOSITORY_FOLDER, load_weights
from train.array_files import store

REPOSITORY = REPOSITORY_FOLDER.parent


def make_weights(**variables):
    return subprocess.run(
        ["make", "weights", *(f"{name}={value}" for name, value in variables.items())],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )


def test_the_weights_are_not_repeated_without_their_material():
    made = make_weights(BACKGROUNDS="", SHAPES="")
    assert made.returncode == 2
    assert "usage: make weights" in made.stderr


@pytest.mark.slow
def test_one_command_trains_grows_and_exports(tmp_path):
    (tmp_path / "scans").mkdir()
    store(tmp_path / "scans" / "scan.npz", random_anatomy(np.random.default_rng(3)))
    mask = np.zeros((20, 20, 20), np.uint8)
    mask[4:8, 5:9, 6:9] = mask[12:15, 12:16, 12:17] = 1
    (tmp_path / "shapes").mkdir()
    nib.save(nib.Nifti1Image(mask, np.eye(4)), tmp_path / "shapes" / "mask.nii.gz")
    shipped = (REPOSITORY_FOLDER / "manifest.json").read_bytes()
    run = tmp_path / "run"
    made = make_weights(
        RECIPE="weights-smoke",
        RUN=run,
        DEVICE="cpu",
        BACKGROUNDS=tmp_path / "scans",
        SHAPES=tmp_path / "shapes",
        WEIGHTS=tmp_path / "weights",
    )
    assert made.returncode == 0, made.stderr
    for part in ("warm-up", "large-patches", "wide", "wide-again", "learned-metric"):
        assert (run / part / "checkpoint.pt").is_file()
    exported = load_weights(tmp_path / "weights")
    assert sum(parameter.numel() for parameter in exported.network.parameters()) == 7_071_386
    assert exported.manifest["validation"] == {}  # whatever was measured with other weights
    assert (REPOSITORY_FOLDER / "manifest.json").read_bytes() == shipped
    for command in ("train.synthetic_validation --network", "train.calibrate"):  # what is left to do
        assert f"python -m {command}" in made.stdout
