"""Scans prepared as backgrounds: which folders are taken, and what is refused before minutes of work."""

import pytest
from click.testing import CliRunner

from lesionwise.errors import InputError
from train import backgrounds


@pytest.fixture
def prepared(monkeypatch):
    """Return the folders that were prepared; nothing is computed."""
    folders = []

    def stand_in(folder):
        folders.append(folder.name)
        raise InputError(f"{folder}: enough")

    monkeypatch.setattr(backgrounds, "prepare", stand_in)
    return folders


def scan(folder):
    folder.mkdir(parents=True)
    (folder / "flair.nii.gz").touch()
    return str(folder)


def run(tmp_path, *folders):
    return CliRunner().invoke(backgrounds.main, [*folders, "--output", str(tmp_path / "out")])


def test_folders_without_a_scan_are_told_and_left_out(tmp_path, prepared):
    (tmp_path / "notes").mkdir()
    result = run(tmp_path, str(tmp_path / "notes"), scan(tmp_path / "patient01"))
    assert "notes: no flair.nii.gz is in it; left out" in result.output
    assert prepared == ["patient01"]


def test_folders_without_any_scan_are_refused(tmp_path, prepared):
    (tmp_path / "notes").mkdir()
    result = run(tmp_path, str(tmp_path / "notes"))
    assert result.exit_code == InputError.exit_code
    assert "name folders of scans" in result.output
    assert not (tmp_path / "out").exists()
    assert not prepared


def test_two_folders_of_one_name_are_refused_for_one_would_stand_for_both(tmp_path, prepared):
    result = run(tmp_path, scan(tmp_path / "a" / "patient19"), scan(tmp_path / "b" / "patient19"))
    assert result.exit_code == InputError.exit_code
    assert "patient19: two of the folders are named so" in result.output
    assert not prepared
