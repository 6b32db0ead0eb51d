"""Scans prepared as backgrounds: which folders are taken, and what is refused before minutes of work."""

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner

from lesionwise.errors import InputError, PreprocessingError
from lesionwise.simulation.anatomy import Anatomy
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


def test_a_fine_scan_is_prepared_as_its_joined_voxels_are(tmp_path, monkeypatch):
    # The slow steps stand aside: what is compared is the voxels that they get, the masks and the grid.
    for step in ("correct_bias_field", "denoise"):
        monkeypatch.setattr(backgrounds, step, lambda image: image)
    monkeypatch.setattr(backgrounds, "_template_maps_on", lambda flair: (flair, flair, flair))
    blocks = np.random.default_rng(3).uniform(80, 120, (30, 34, 28))
    brain, lesions = (np.zeros(blocks.shape, bool) for _ in range(2))
    brain[8:22, 8:26, 7:21] = True
    lesions[12:16, 12:16, 12:15] = True
    each = np.ones((2, 2, 1))
    for folder, size, on_grid in (
        ("coarse", 1.0, np.asarray),
        ("fine", 0.5, lambda image: np.kron(image, each)),
    ):
        (tmp_path / folder).mkdir()
        shift = -(1.0 - size) / 2  # the first of the joined voxels lies before their middle
        affine = np.diag([-size, -size, 1.0, 1.0])
        affine[:2, 3] = -shift
        for name, image in (("flair", blocks), ("brain_mask_flair", brain), ("lesions", lesions)):
            stored = nib.Nifti1Image(on_grid(image).astype(np.float32), affine)
            nib.save(stored, tmp_path / folder / f"{name}.nii.gz")
    coarse, fine = (backgrounds.prepare(tmp_path / folder) for folder in ("coarse", "fine"))
    np.testing.assert_array_equal(fine.brain, coarse.brain)
    np.testing.assert_array_equal(fine.old_lesions, coarse.old_lesions)
    np.testing.assert_allclose(fine.flair, coarse.flair, atol=1e-4)
    assert fine.old_lesions.sum() == lesions.sum()


def test_a_scan_is_prepared_again_when_one_of_its_files_is_new(tmp_path, monkeypatch):
    made = []
    nothing = np.zeros((2, 2, 2), np.float32)
    monkeypatch.setattr(
        backgrounds, "prepare", lambda folder: made.append(folder.name) or Anatomy(*[nothing] * 6)
    )
    folder = tmp_path / "patient01"
    scan(folder)
    for count, words in ((1, "voxels"), (1, "kept, for its scan has not changed")):
        assert words in run(tmp_path, str(folder)).output
        assert len(made) == count
    before = (tmp_path / "out" / "patient01.npz").read_bytes()
    (folder / "lesions.nii.gz").touch()
    run(tmp_path, str(folder))
    assert len(made) == 2
    (folder / "lesions.nii.gz").unlink()  # what was made with it is not to be used any more
    run(tmp_path, str(folder))
    assert len(made) == 3
    monkeypatch.setattr(backgrounds, "PREPARATION", backgrounds.PREPARATION + 1)
    run(tmp_path, str(folder))
    assert len(made) == 4
    assert (tmp_path / "out" / "patient01.npz").read_bytes() == before  # when it was made is not in it


def test_a_scan_of_which_nothing_tells_what_it_was_made_from_is_prepared_again(tmp_path, prepared):
    folder, output = scan(tmp_path / "patient01"), tmp_path / "out"
    output.mkdir()
    (output / "patient01.npz").touch()
    run(tmp_path, folder)
    assert prepared == ["patient01"]


def test_a_scan_whose_brain_is_not_found_is_named_with_what_to_do(tmp_path, monkeypatch):
    def fail(_folder):
        raise PreprocessingError("no brain was found", "give --brain-mask FILE")

    monkeypatch.setattr(backgrounds, "prepare", fail)
    result = run(tmp_path, scan(tmp_path / "patient01"))
    assert result.exit_code == PreprocessingError.exit_code
    assert "error: patient01: no brain was found; put its brain mask beside the scan" in result.output
