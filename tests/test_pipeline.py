"""One case from files to files: known lesions are found, however the same scans are stored."""

import gzip
import json
import os
import shlex
import shutil
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy import ndimage
from small_case import new_lesions, write_case, write_weights
from stored_otherwise import WAYS, dice, dice_mapped_back, store

from lesionwise import cli, pipeline, prepared_case, scan_pair
from lesionwise.case_files import Case
from lesionwise.engine import Engine, Settings
from lesionwise.errors import InputError, PreprocessingError, UsageError
from lesionwise.lesions import OperatingPoint, find_lesions, label_lesions, remove_small_lesions
from lesionwise.pipeline import carried, segment_case
from lesionwise.preprocessing.recipe import Recipe
from lesionwise.preprocessing.registration import Registration
from lesionwise.progress import Lines, Progress
from lesionwise.report.page import run_facts

GEOMETRY_FIELDS = (
    *("dim", "pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)


def voxels(path):
    return np.asarray(nib.load(path).dataobj)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Return the paths of time 1, time 2 and the brain mask as first stored."""
    return write_case(tmp_path_factory.mktemp("stored"))


@pytest.fixture(scope="module")
def segment(weights):
    def run(time1, time2, brain, output, progress=None, settings=None, **files):
        case = Case(time1, time2, output, brain_mask=brain, **files)
        settings = settings or Settings(weights=weights, device="cpu")
        return segment_case(case, settings, progress or Progress())

    return run


@pytest.fixture(scope="module")
def reference(segment, stored, tmp_path_factory):
    """Return the folder of a finished case: mask, probabilities and table."""
    folder = tmp_path_factory.mktemp("reference")
    files = {"probabilities": folder / "probabilities.nii.gz", "table": folder / "table.json"}
    segment(*stored, folder / "mask.nii.gz", **files)
    return folder


# --- what comes out --------------------------------------------------------------------------------------


def test_the_known_lesions_are_found_and_the_old_one_is_not(reference):
    mask = voxels(reference / "mask.nii.gz")
    assert set(np.unique(mask)) == {0, 1}
    assert dice(mask > 0, new_lesions()) > 0.85
    assert json.loads((reference / "table.json").read_text())["new_lesions"] == 2


def test_the_outputs_have_the_geometry_of_time_1_bit_for_bit(reference, stored):
    source = nib.load(stored[0]).header
    for name, kind in (("mask.nii.gz", np.uint8), ("probabilities.nii.gz", np.float32)):
        header = nib.load(reference / name).header
        assert header.get_data_dtype() == kind
        for field in GEOMETRY_FIELDS:
            assert header[field].tobytes() == source[field].tobytes(), field


def test_the_mask_is_the_probabilities_above_the_threshold_but_for_specks(reference, stored):
    probability, mask = voxels(reference / "probabilities.nii.gz"), voxels(reference / "mask.nii.gz") > 0
    assert probability.min() >= 0
    assert probability.max() <= 1
    spacing_mm = nib.load(stored[0]).header.get_zooms()
    np.testing.assert_array_equal(mask, remove_small_lesions(probability > 0.5, spacing_mm))
    assert not probability[voxels(stored[2]) == 0].any()


def test_the_table_says_what_was_done_and_names_no_file(reference, stored):
    text = (reference / "table.json").read_text()
    table = json.loads(text)
    mask = voxels(reference / "mask.nii.gz")
    assert table["new_lesion_volume_mm3"] == pytest.approx(mask.sum() * 1.2, rel=1e-4)
    assert table["brain_volume_ml"] == pytest.approx(voxels(stored[2]).sum() * 1.2 / 1000, abs=0.06)
    assert table["registration_residual_mm"] is None  # of so small a brain it cannot be told
    assert table["settings"]["threshold"] == 0.5
    assert len(table["weights_sha256"]) == 64
    assert table["versions"]["torch"] == torch.__version__
    assert {"reading", "running the network"} <= set(table["seconds"])
    for path in (*stored, reference):
        assert str(path) not in text
        assert path.name not in text


def test_time_points_that_are_apart_are_told_in_the_table_and_warned_of(
    segment, stored, weights, tmp_path, monkeypatch
):
    monkeypatch.setattr(prepared_case, "registration_residual_mm", lambda *_: 3.141)
    plain = Settings(weights=weights, device="cpu", recipe=Recipe(bias_correction=False, denoising=False))
    table = segment(*stored, tmp_path / "mask.nii.gz", settings=plain)
    assert table["registration_residual_mm"] == 3.14
    assert "do not lie on each other: 3.1 mm apart" in " ".join(table["warnings"])
    assert ("time points still apart", "3.1 mm on average in the brain") in run_facts(table)


def test_the_same_input_gives_the_same_bytes(segment, stored, reference, tmp_path):
    segment(*stored, tmp_path / "again.nii.gz")
    assert (tmp_path / "again.nii.gz").read_bytes() == (reference / "mask.nii.gz").read_bytes()


def test_a_higher_threshold_gives_a_part_of_the_mask(segment, stored, reference, weights, tmp_path):
    settings = Settings(weights=weights, device="cpu", threshold=0.95)
    segment(*stored, tmp_path / "high.nii.gz", settings=settings)
    high, mask = voxels(tmp_path / "high.nii.gz") > 0, voxels(reference / "mask.nii.gz") > 0
    assert 0 < high.sum() <= mask.sum()
    assert not (high & ~mask).any()


def test_what_is_asked_of_the_operating_point_replaces_the_weights_own(
    segment, stored, weights, tmp_path, monkeypatch
):
    def nothing(probability, _spacing_mm, point):
        seen.append(point)
        return np.zeros(probability.shape, bool)

    seen = []
    monkeypatch.setattr(pipeline, "find_lesions", nothing)
    for settings in (
        Settings(weights=weights, device="cpu", certainty=0.8),
        Settings(weights=weights, device="cpu"),
    ):
        report = segment(*stored, tmp_path / "none.nii.gz", settings=settings)
        assert report["new_lesions"] == 0
    assert seen == [OperatingPoint(0.5, 0.8), OperatingPoint(0.5)]
    assert report["settings"]["certainty"] == 0


def test_two_equal_scans_have_no_new_lesion_and_a_warning(segment, stored, tmp_path):
    report = segment(stored[0], stored[0], stored[2], tmp_path / "none.nii.gz")
    assert report["new_lesions"] == 0
    assert "same image" in report["warnings"][0]
    assert not voxels(tmp_path / "none.nii.gz").any()


def test_steps_can_be_switched_off(segment, stored, weights, tmp_path):
    progress = Progress()
    settings = Settings(weights=weights, device="cpu", recipe=Recipe(False, False))
    report = segment(*stored, tmp_path / "plain.nii.gz", progress=progress, settings=settings)
    assert report["new_lesions"] == 2
    assert not [step for step in progress.seconds if "bias" in step or "nois" in step]


# --- the same scans, stored in other ways ------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_the_same_pair_stored_otherwise_gives_the_same_lesions(segment, stored, reference, tmp_path, way):
    segment(*store(stored, way, tmp_path), tmp_path / "mask.nii.gz")
    assert dice_mapped_back(tmp_path / "mask.nii.gz", reference / "mask.nii.gz") >= 0.98


def test_trailing_axes_of_one_are_taken_and_kept(segment, stored, reference, tmp_path):
    paths = []
    for path in stored:
        image = nib.load(path)
        paths.append(tmp_path / path.name)
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[..., None], image.affine), paths[-1])
    segment(*paths, tmp_path / "mask.nii.gz")
    mask = voxels(tmp_path / "mask.nii.gz")
    assert mask.ndim == 4
    np.testing.assert_array_equal(mask[..., 0], voxels(reference / "mask.nii.gz"))


# --- how it behaves ----------------------------------------------------------------------------------------


def test_the_command_works_with_relative_paths_and_no_home_and_writes_nothing_else(
    stored, reference, weights, tmp_path
):
    for path in stored:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "tmp").mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "TMPDIR": str(tmp_path / "tmp"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LESIONWISE_WEIGHTS": str(weights),
    }
    command = [
        sys.executable,
        "-m",
        "lesionwise.cli",
        "segment",
        "-t1",
        "time1.nii.gz",
        "-t2",
        "time2.nii.gz",
    ]
    command += ["-o", "out.nii.gz", "--brain-mask", "brain.nii.gz", "--device", "cpu"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("lesion  volume_mm3")
    assert len(done.stdout.splitlines()) == 3  # a line for each of the two lesions
    assert "running the network" in done.stderr
    assert "2 new lesions" in done.stderr
    assert "\r" not in done.stderr
    assert (tmp_path / "out.nii.gz").read_bytes() == (reference / "mask.nii.gz").read_bytes()
    names = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {path.name for path in stored} | {"out.nii.gz"}


def test_quiet_writes_not_a_word(stored, weights, tmp_path, capfd):
    arguments = ["segment", "-t1", stored[0], "-t2", stored[1], "-o", tmp_path / "out.nii", "--quiet"]
    arguments += ["--brain-mask", stored[2], "--weights", weights, "--no-denoise", "--no-bias-correction"]
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in arguments])
    assert ended.value.code == 0
    assert capfd.readouterr() == ("", "")
    assert voxels(tmp_path / "out.nii").any()


@pytest.mark.parametrize("output", ["manifest.json", "segmentation.safetensors"])
def test_an_output_over_the_weights_is_refused(segment, stored, weights, tmp_path, output):
    shutil.copytree(weights, tmp_path / "weights")
    settings = Settings(weights=tmp_path / "weights", device="cpu")
    with pytest.raises(UsageError, match=output):
        segment(*stored, tmp_path / "mask.nii", settings=settings, table=tmp_path / "weights" / output)


def test_a_scan_is_no_brain_mask(segment, stored, tmp_path):
    with pytest.raises(InputError, match=r"time2\.nii\.gz: a mask holds 0 and one other value"):
        segment(*stored[:2], stored[1], tmp_path / "mask.nii")


def test_an_error_says_in_which_time_point(segment, stored, tmp_path):
    image = nib.load(stored[1])
    nib.save(nib.Nifti1Image(voxels(stored[1]) - 1000.0, image.affine), tmp_path / "low.nii")
    with pytest.raises(PreprocessingError, match=r"^time 2: intensities"):
        segment(stored[0], tmp_path / "low.nii", stored[2], tmp_path / "mask.nii")


@pytest.mark.parametrize("log", [">/dev/null 2>&-", ">/dev/null 2>/dev/full", ">/dev/full"])
def test_a_log_that_cannot_be_written_is_no_reason_to_lose_the_work(stored, weights, tmp_path, log):
    command = [sys.executable, "-m", "lesionwise.cli", "segment", "-t1", stored[0], "-t2", stored[1]]
    command += ["--brain-mask", stored[2], "--weights", weights, "--no-bias-correction", "--no-denoise"]
    line = f"{shlex.join(map(str, [*command, '-o', tmp_path / 'mask.nii']))} {log}"
    assert subprocess.run(["sh", "-c", line], check=False).returncode == 0
    assert voxels(tmp_path / "mask.nii").any()


def test_an_existing_output_is_replaced_and_nothing_is_left_beside_it(segment, stored, tmp_path):
    (tmp_path / "mask.nii.gz").write_text("old")
    segment(*stored, tmp_path / "mask.nii.gz")
    assert voxels(tmp_path / "mask.nii.gz").any()
    assert [path.name for path in tmp_path.iterdir()] == ["mask.nii.gz"]


def test_an_interruption_in_the_middle_leaves_the_old_output_and_no_other_file(segment, stored, tmp_path):
    (tmp_path / "mask.nii.gz").write_text("old")

    class Interrupted(Progress):
        def advance(self, done, total):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segment(*stored, tmp_path / "mask.nii.gz", progress=Interrupted(), table=tmp_path / "table.json")
    assert (tmp_path / "mask.nii.gz").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["mask.nii.gz"]


def test_no_text_of_the_source_header_reaches_an_output_or_the_lines(segment, stored, tmp_path, capsys):
    paths = []
    for path in stored:
        image = nib.load(path)
        image.header["descrip"], image.header["db_name"] = b"DOE^JANE", b"DOE^JANE"
        image.header["aux_file"], image.header["intent_name"] = b"DOE^JANE", b"DOE^JANE"
        paths.append(tmp_path / path.name)
        nib.save(image, paths[-1])
    assert b"DOE^JANE" in gzip.decompress(paths[0].read_bytes())
    output, table = tmp_path / "out.nii.gz", tmp_path / "out.json"
    segment(*paths, output, table=table, progress=Progress(Lines()))
    assert b"DOE" not in gzip.decompress(output.read_bytes())
    assert "DOE" not in table.read_text() + capsys.readouterr().err


def test_precision_is_as_asked(weights):
    engine = Engine.start(Settings(weights=weights, device="cpu", precision="bf16"), Progress())
    assert engine.precision == torch.bfloat16


@pytest.mark.parametrize("grid", ["time1", "halfway", "time2"])
def test_after_a_registration_the_mask_lies_on_the_grid_asked_for(
    segment, stored, weights, tmp_path, monkeypatch, grid
):
    # Time 2 in a frame of its own, 10 mm to the right; the registration is known.
    motion = np.eye(4)
    motion[0, 3] = 10.0
    image = nib.load(stored[1])
    moved = nib.Nifti1Image(np.asarray(image.dataobj), motion @ image.affine)
    nib.save(moved, tmp_path / "time2.nii.gz")
    monkeypatch.setattr(scan_pair, "register", lambda *_: Registration(motion, 1.0))
    settings = Settings(weights=weights, device="cpu", register=True, output_grid=grid)
    output = tmp_path / "mask.nii.gz"
    segment(stored[0], tmp_path / "time2.nii.gz", stored[2], output, settings=settings)

    found = nib.load(output)
    if grid == "halfway":  # a grid of its own: where the lesions lie tells
        centre = nib.affines.apply_affine(found.affine, np.argwhere(voxels(output)).mean(axis=0))
        truth = nib.affines.apply_affine(image.affine, np.argwhere(new_lesions()).mean(axis=0))
        np.testing.assert_allclose(centre, truth + np.array([5, 0, 0]), atol=0.5)
    else:
        np.testing.assert_array_equal(found.affine, image.affine if grid == "time1" else moved.affine)
        assert dice(voxels(output) > 0, new_lesions()) > 0.8


def test_a_map_keeps_its_lesions_on_a_grid_that_lies_between_its_voxels():
    # One that is sure, and one that is doubtful throughout. As means of probabilities the sure one's border would be half as
    # likely, and the whole not sure enough.
    probability = np.full((40, 40, 40), 1e-4, np.float32)
    probability[8:12, 8:12, 8:12] = 0.97
    probability[25:31, 25:31, 25:31] = 0.75
    point, spacing_mm = OperatingPoint(0.27, 0.9), (1.0, 1.0, 1.0)
    assert label_lesions(find_lesions(probability, spacing_mm, point), spacing_mm).max() == 1
    for shift in ((0.5, 0.5, 0.5), (0.25, -0.25, 0.5)):
        moved = carried(probability, lambda p, by=shift: ndimage.shift(p, by, order=1))
        found = find_lesions(moved, spacing_mm, point)
        assert label_lesions(found, spacing_mm).max() == 1
        assert found[9:11, 9:11, 9:11].all()
    assert not find_lesions(ndimage.shift(probability, (0.5, 0.5, 0.5), order=1), spacing_mm, point).any()
    np.testing.assert_allclose(carried(probability, lambda p: p), probability, atol=2e-6)
