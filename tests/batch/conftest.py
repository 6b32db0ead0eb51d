"""What the tests of `batch` share: a small cohort, the command, and which cases it computed."""

import shutil

import pytest
from small_case import QUICK_BATCH, write_patient, write_weights

from lesionwise import cli
from lesionwise.batch import computer as computer_module
from lesionwise.challenge_layout import TIME1, TIME2
from lesionwise.pipeline import finish_case


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    """Return a patient's folder in the challenge's layout, with a brain mask."""
    return write_patient(tmp_path_factory.mktemp("patient") / "patient")


@pytest.fixture
def cohort(patient, tmp_path):
    """Return a folder of three patients, of whom the second has no time 2."""
    for name in ("a", "b", "c"):
        shutil.copytree(patient, tmp_path / "in" / name)
    (tmp_path / "in/b" / TIME2).unlink()
    return tmp_path / "in"


@pytest.fixture
def batch(cohort, weights, tmp_path, capfd):
    """Return a function that runs the command: (exit code, standard output, standard error)."""

    def run(*more):
        arguments = ["batch", cohort, tmp_path / "out", *QUICK_BATCH, "--weights", weights, *more]
        with pytest.raises(SystemExit) as ended:
            cli.main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return ended.value.code, captured.out, captured.err

    return run


@pytest.fixture
def computed(monkeypatch):
    """Return the list of the cases that went through the network."""
    names = []

    def counted(case, *arguments):
        names.append(case.output.parent.name)
        return finish_case(case, *arguments)

    monkeypatch.setattr(computer_module, "finish_case", counted)
    return names


@pytest.fixture
def dataset(patient, tmp_path):
    """Return a BIDS dataset of one subject with two sessions."""
    for session, name in (("1", TIME1), ("2", TIME2)):
        folder = tmp_path / f"in/sub-x/ses-{session}/anat"
        folder.mkdir(parents=True)
        shutil.copy(patient / name, folder / f"sub-x_ses-{session}_FLAIR.nii.gz")
    return tmp_path / "in"
