"""`lesionwise preprocess`: what it writes equals the Anima tools, in the scans' geometry, for a pair and for a folder."""

import json
import os
import shutil
import signal

import nibabel as nib
import numpy as np
import pytest
from closed_folder import close
from small_case import brain, new_lesions, time_points, write_case

from lesionwise import cli, scan_pair
from lesionwise.challenge_layout import BRAIN_MASK, GROUND_TRUTH, TIME1, TIME2, TRUTHS
from lesionwise.preprocess_case import REPORT
from lesionwise.preprocessing.brain_extraction import not_a_brain
from lesionwise.preprocessing.brain_routes import ROUTES
from lesionwise.preprocessing.recipe import RECIPES, Recipe, preprocess_pair
from lesionwise.preprocessing.registration import Registration

GEOMETRY_FIELDS = ("dim", "pixdim", "xyzt_units", "qform_code", "sform_code", "srow_x", "srow_y", "srow_z")


@pytest.fixture(autouse=True)
def keep_signal():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def run(capsys):
    """Return a function that runs `preprocess` and returns its exit code and what it wrote to standard error."""

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            cli.main(["preprocess", *map(str, arguments)])
        captured = capsys.readouterr()
        assert captured.out == ""
        assert ("Traceback" in captured.err) == ("--debug" in arguments)
        return ended.value.code, captured.err

    return call


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return write_case(tmp_path_factory.mktemp("case"))


@pytest.fixture
def known_brain(monkeypatch):
    """The brain is known: nothing is extracted."""
    monkeypatch.setattr(scan_pair, "find_brain", lambda *_: (brain(), "learned"))


def voxels(path):
    return np.asarray(nib.load(path).dataobj)


def relative_rms(image, expected):
    return float(np.sqrt(((image - expected) ** 2).sum() / (expected**2).sum()))


@pytest.mark.parametrize(
    ("options", "recipe"),
    [
        ((), RECIPES["paper"]),
        (("--recipe", "challenge"), RECIPES["challenge"]),
        (("--recipe", "challenge", "--denoise"), RECIPES["paper"]),
        (("--no-bias-correction", "--no-denoise"), Recipe(False, False)),
        (("--no-denoise", "--match-histogram"), Recipe(denoising=False, histogram_matching=True)),
    ],
)
def test_a_pair_is_written_in_its_geometry_with_what_was_done(run, case, tmp_path, options, recipe):
    code, err = run(
        "-t1", case[0], "-t2", case[1], "--brain-mask", case[2], "-o", tmp_path / "new" / "out", *options
    )
    assert code == 0, err
    out = tmp_path / "new" / "out"
    assert {path.name for path in out.iterdir()} == {TIME1, TIME2, BRAIN_MASK, REPORT}
    expected = preprocess_pair(*time_points(), brain(), recipe)
    for name, source, image in zip((TIME1, TIME2), case, expected, strict=False):
        written, header = nib.load(out / name), nib.load(source).header
        assert written.header.get_data_dtype() == np.float32
        for field in GEOMETRY_FIELDS:
            assert written.header[field].tobytes() == header[field].tobytes(), field
        np.testing.assert_array_equal(voxels(out / name), image)
    np.testing.assert_array_equal(voxels(out / BRAIN_MASK), brain())
    report = json.loads((out / REPORT).read_text())
    assert report["preprocessing"] == list(recipe.steps)
    assert report["brain_extraction"] == "given"
    assert report["brain_volume_ml"] == pytest.approx(brain().sum() * 1.2 / 1000, abs=0.06)
    assert str(case[0]) not in json.dumps(report)


def test_with_a_template_both_images_come_to_its_intensities(run, case, tmp_path):
    template = np.where(brain(), 10 * time_points()[0], 0)
    nib.save(nib.Nifti1Image(template, nib.load(case[0]).affine), tmp_path / "template.nii")
    code, err = run(
        *("-t1", case[0], "-t2", case[1], "--brain-mask", case[2], "-o", tmp_path / "out", "--no-denoise"),
        *("--no-bias-correction", "--template", tmp_path / "template.nii"),
    )
    assert code == 0, err
    for name in (TIME1, TIME2):
        median = np.median(voxels(tmp_path / "out" / name)[brain()])
        assert median == pytest.approx(np.median(template[brain()]), rel=0.01)


def test_a_template_that_could_only_wipe_the_images_or_have_no_effect_is_refused(run, case, tmp_path):
    nib.save(nib.Nifti1Image(np.full((20, 20, 20), 7, np.int16), np.eye(4)), tmp_path / "flat.nii")
    pair = ("-t1", case[0], "-t2", case[1], "--brain-mask", case[2], "-o", tmp_path / "out")
    code, err = run(*pair, "--template", tmp_path / "flat.nii")
    assert code == 3
    assert "flat.nii: every voxel has the value 7" in err
    code, err = run(*pair, "--template", case[0], "--no-match-histogram")
    assert code == 2
    assert "--no-match-histogram leaves that out" in err
    assert not (tmp_path / "out").exists()


def test_a_way_to_find_a_brain_that_is_given_is_refused(run, case, tmp_path):
    pair = ("-t1", case[0], "-t2", case[1], "--brain-mask", case[2], "-o", tmp_path / "out")
    code, err = run(*pair, "--brain-extraction", "atlas")
    assert code == 2
    assert "leave one of them out" in err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def patients(case, tmp_path):
    """Return a folder of two patients with truths, one whose second scan is damaged, one with nothing."""
    folder = tmp_path / "patients"
    for name in ("patient001", "patient002", "patient003"):
        (folder / name).mkdir(parents=True)
        shutil.copy(case[0], folder / name / TIME1)
        shutil.copy(case[1], folder / name / TIME2)
        truth = nib.Nifti1Image(new_lesions().astype(np.uint8), nib.load(case[0]).affine)
        nib.save(truth, folder / name / GROUND_TRUTH)
    (folder / "patient001" / TRUTHS[4]).write_bytes(b"the fourth expert")
    (folder / "patient002" / TIME2).write_bytes(b"not a scan")
    (folder / "patient000").mkdir()
    (folder / ".hidden").mkdir()
    return folder


def test_a_folder_of_patients_goes_on_after_failures_and_ends_with_code_1(
    run, patients, known_brain, tmp_path
):
    code, err = run(patients, "-o", tmp_path / "out", "--no-denoise", "--quiet")
    assert code == 1
    first, second, last = err.splitlines()  # with --quiet no more than what failed
    assert first.startswith("patient000 failed: ")
    assert second.startswith("patient002 failed: ")
    assert "2 of 4 patients failed: patient000, patient002" in last
    assert "no such file" in err
    assert "not a NIfTI file" in err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["patient001", "patient003"]
    names = {path.name for path in (tmp_path / "out" / "patient001").iterdir()}
    assert names == {TIME1, TIME2, BRAIN_MASK, REPORT, GROUND_TRUTH, TRUTHS[4]}
    for name in (GROUND_TRUTH, TRUTHS[4]):
        copy = tmp_path / "out" / "patient001" / name
        assert copy.read_bytes() == (patients / "patient001" / name).read_bytes()
    report = json.loads((tmp_path / "out" / "patient003" / REPORT).read_text())
    assert report["preprocessing"] == ["masking", "bias correction"]
    assert report["brain_extraction"] == "learned"


def test_what_may_not_be_looked_into_or_was_not_fetched_is_a_patient_who_fails(
    run, patients, known_brain, tmp_path, monkeypatch
):
    for name in ("patient000", "patient002"):
        shutil.rmtree(patients / name)
    shutil.copytree(patients / "patient001", patients / "unfetched")
    (patients / "unfetched" / GROUND_TRUTH).unlink()
    (patients / "unfetched" / GROUND_TRUTH).symlink_to("../.git/annex/objects/key")
    shutil.copytree(patients / "patient001", patients / "lost+found")
    (patients / "moved").symlink_to(patients / "lost+found" / "patient")
    (tmp_path / "out" / "patient003").mkdir(parents=True)
    close(monkeypatch, patients / "lost+found")
    close(monkeypatch, tmp_path / "out" / "patient003")
    code, err = run(patients, "-o", tmp_path / "out", "--no-denoise", "--no-bias-correction", "--quiet")
    assert code == 1
    closed, moved, unwritable, unfetched, last = err.splitlines()
    assert closed.startswith("lost+found failed: ")
    assert moved.startswith("moved failed: ")
    assert unwritable.startswith("patient003 failed: ")
    assert all("Permission denied" in line for line in (closed, moved, unwritable))
    assert f"unfetched failed: {patients / 'unfetched' / GROUND_TRUTH}: No such file" in unfetched
    assert "4 of 5 patients failed" in last
    assert (tmp_path / "out" / "patient001" / REPORT).is_file()


def test_a_link_in_the_place_of_an_output_that_no_earlier_run_wrote_is_not_replaced(run, patients, tmp_path):
    theirs = tmp_path / "out" / "patient001" / TIME1
    theirs.parent.mkdir(parents=True)
    theirs.symlink_to("../.git/annex/objects/key")
    code, err = run(patients, "-o", tmp_path / "out", "--quiet")
    assert code == 2
    assert f"{theirs}: no earlier preprocess wrote this file" in err


@pytest.mark.parametrize("inside", ["done", "derived/done"])
def test_a_folder_without_failures_ends_with_code_0_also_inside_itself(run, patients, known_brain, inside):
    for name in ("patient000", "patient002"):
        shutil.rmtree(patients / name)
    for _ in range(2):  # the second time the outputs are there, and are no patients
        code, err = run(patients, "-o", patients / inside, "--no-denoise", "--no-bias-correction")
        assert code == 0, err
        assert "patient001 (1 of 2)" in err
        assert sorted(path.name for path in (patients / inside).iterdir()) == ["patient001", "patient003"]


def test_a_patient_that_holds_the_output_is_still_one(run, patients, known_brain):
    output = patients / "patient001" / "derived"
    _, err = run(patients, "-o", output, "--no-denoise", "--no-bias-correction")
    assert "2 of 4 patients failed: patient000, patient002" in err
    assert (output / "patient001" / REPORT).is_file()


def test_of_a_patient_that_fails_it_is_said_that_earlier_outputs_are_left(
    run, patients, known_brain, tmp_path
):
    quick = ("-o", tmp_path / "out", "--no-denoise", "--no-bias-correction", "--quiet")
    run(patients, *quick)
    (patients / "patient001" / TIME2).write_bytes(b"not a scan")
    _, err = run(patients, *quick)
    told = {
        line.split()[0]: "outputs are still those of an earlier start" in line for line in err.splitlines()
    }
    assert told["patient001"]
    assert not told["patient002"]


def test_a_brain_mask_that_was_corrected_by_hand_is_left_and_told(run, patients, known_brain, tmp_path):
    quick = ("-o", tmp_path / "out", "--no-denoise", "--no-bias-correction", "--quiet")
    run(patients, *quick)
    corrected = tmp_path / "out" / "patient001" / BRAIN_MASK
    by_hand = voxels(corrected).copy()
    by_hand[:16] = 0
    nib.save(nib.Nifti1Image(by_hand, nib.load(corrected).affine), corrected)
    before = corrected.read_bytes()
    _, err = run(patients, *quick)
    assert f"{corrected}: this is not the file that an earlier preprocess wrote" in err
    assert corrected.read_bytes() == before
    assert "patient003" not in err  # its mask is as it was written: done again
    corrected.rename(tmp_path / "corrected.nii.gz")
    first = ("-t1", patients / "patient001" / TIME1, "-t2", patients / "patient001" / TIME2)
    code, err = run(*first, "-o", corrected.parent, *quick[2:], "--brain-mask", tmp_path / "corrected.nii.gz")
    assert code == 0, err
    np.testing.assert_array_equal(voxels(corrected), by_hand)


def test_a_brain_mask_that_is_corrected_meanwhile_is_left(run, case, tmp_path, monkeypatch):
    quick = ("-t1", case[0], "-t2", case[1], "-o", tmp_path / "out", "--no-denoise", "--no-bias-correction")
    monkeypatch.setattr(scan_pair, "find_brain", lambda *_: (brain(), "learned"))
    assert run(*quick)[0] == 0
    mask = tmp_path / "out" / BRAIN_MASK

    def found_while_somebody_corrects(*_):
        mask.write_bytes(b"corrected")
        return brain(), "learned"

    monkeypatch.setattr(scan_pair, "find_brain", found_while_somebody_corrects)
    code, err = run(*quick)
    assert code == 3
    assert "corrected by hand?" in err
    assert mask.read_bytes() == b"corrected"


@pytest.fixture
def known_registration(monkeypatch):
    """The scans lie on each other already, and the brain is known."""
    monkeypatch.setattr(scan_pair, "register", lambda *_: Registration(np.eye(4), 1.0))
    monkeypatch.setitem(ROUTES, "learned", lambda *_: brain())
    monkeypatch.setattr(scan_pair, "gate_brain_masks", lambda first, second, _: first | second)


def test_truths_on_the_grid_of_an_earlier_run_go_with_its_images(
    run, patients, known_brain, known_registration, tmp_path
):
    quick, out = ("--no-denoise", "--no-bias-correction"), tmp_path / "out"
    run(patients, "-o", out, *quick)
    patient, other = out / "patient001", out / "patient003"
    assert (patient / TRUTHS[4]).exists()
    (other / REPORT).write_text(
        '{"masks_sha256": 3'
    )  # nothing says any more who wrote its mask and its truth
    (patient / TRUTHS[1]).write_bytes(b"put there by hand")
    _, err = run(patients, "-o", out, *quick, "--register")
    written = {TIME1, TIME2, BRAIN_MASK, REPORT}
    assert {path.name for path in patient.iterdir()} == written | {TRUTHS[1]}
    assert f"patient003 failed: {other / BRAIN_MASK}" in err
    assert {path.name for path in other.iterdir()} == written | {GROUND_TRUTH}


@pytest.mark.parametrize("more", [(), ("--register",)])
def test_a_truth_that_was_corrected_by_hand_is_neither_replaced_nor_removed(
    run, patients, known_brain, known_registration, tmp_path, more
):
    quick, out = ("--no-denoise", "--no-bias-correction"), tmp_path / "out"
    run(patients, "-o", out, *quick)
    truth = out / "patient001" / TRUTHS[4]
    truth.write_bytes(b"corrected by hand")
    _, err = run(patients, "-o", out, *quick, *more)
    assert f"patient001 failed: {truth}: this is not the file" in err
    assert truth.read_bytes() == b"corrected by hand"


def test_an_unexpected_error_in_one_patient_does_not_end_the_run(run, patients, tmp_path, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("odd")

    monkeypatch.setattr(scan_pair, "find_brain", broken)
    code, err = run(patients, "-o", tmp_path / "out", "--quiet")
    assert code == 1
    assert "4 of 4 patients failed" in err
    assert "unexpected ZeroDivisionError: odd" in err
    _, err = run(patients, "-o", tmp_path / "out", "--quiet", "--debug")
    assert err.count('raise ZeroDivisionError("odd")') == 2  # of the others a scan cannot be read
    assert not (tmp_path / "out").exists()


def test_a_template_that_cannot_be_used_is_told_once_and_nothing_is_done(run, patients, tmp_path):
    code, err = run(patients, "-o", tmp_path / "out", "--template", tmp_path / "none.nii", "--quiet")
    assert (code, len(err.splitlines())) == (3, 1)
    assert "none.nii: no such file" in err
    assert not (tmp_path / "out").exists()


def test_where_no_brain_is_found_a_folder_advises_the_patient_alone_and_a_pair_its_option(
    run, case, patients, tmp_path, monkeypatch
):
    def no_brain(*_):
        raise not_a_brain("no brain was found")

    monkeypatch.setattr(scan_pair, "find_brain", no_brain)
    _, err = run(patients, "-o", tmp_path / "out", "--quiet")
    assert (
        "no brain was found; check the scans or preprocess this patient alone (-t1, -t2) with --brain-mask"
        in err
    )
    code, err = run("-t1", case[0], "-t2", case[1], "-o", tmp_path / "out", "--quiet")
    assert code == 4
    assert "no brain was found; check the scans or give --brain-mask FILE\n" in err


def test_outputs_over_the_inputs_are_refused_and_leave_them(run, patients, known_brain):
    shutil.rmtree(patients / "patient000")
    before = (patients / "patient001" / TIME1).read_bytes()
    code, err = run(patients, "-o", patients, "--quiet")
    assert code == 2
    assert f"patient001/{TIME1}: no earlier preprocess wrote this file" in err
    for patient in patients.iterdir():  # as if an earlier run had written them
        (patient / REPORT).touch()
    code, err = run(patients, "-o", patients, "--quiet")
    assert code == 1
    assert "is the input" in err
    assert (patients / "patient001" / TIME1).read_bytes() == before


@pytest.mark.parametrize("name", [TIME1, TIME2, BRAIN_MASK, TRUTHS[2]])
def test_files_of_another_cohort_are_not_replaced_and_nothing_is_done(run, case, patients, tmp_path, name):
    theirs = tmp_path / "cohort" / "patient003" / name
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"raw")
    pair = ("-t1", case[0], "-t2", case[1], "--brain-mask", case[2])
    for arguments in ((patients, "-o", tmp_path / "cohort"), (*pair, "-o", theirs.parent)):
        code, err = run(*arguments, "--quiet")
        assert code == 2
        assert f"{theirs}: no earlier preprocess wrote this file" in err
    assert [path for path in (tmp_path / "cohort").rglob("*") if path.is_file()] == [theirs]
    assert theirs.read_bytes() == b"raw"


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("-t1", "a.nii"),
        ("folder", "-t1", "a.nii", "-t2", "b.nii"),
        ("folder", "--brain-mask", "a.nii"),
    ],
)
def test_neither_a_pair_nor_a_folder_is_a_usage_error(run, arguments, tmp_path):
    code, err = run(*arguments, "-o", tmp_path / "out")
    assert code == 2
    assert "two scans" in err
    assert not (tmp_path / "out").exists()


def test_a_folder_without_patients_is_refused(run, tmp_path):
    assert run(tmp_path / "nowhere", "-o", tmp_path / "out")[0] == 3
    (tmp_path / "empty").mkdir()
    code, err = run(tmp_path / "empty", "-o", tmp_path / "out")
    assert code == 3
    assert "no patient found" in err


def test_after_an_error_no_new_folder_is_left(run, case, tmp_path):
    code, _ = run("-t1", case[0], "-t2", tmp_path / "none.nii", "-o", tmp_path / "a" / "b")
    assert code == 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_made_is_refused(run, case, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    code, err = run("-t1", case[0], "-t2", case[1], "-o", tmp_path / "closed" / "out")
    assert code == 3
    assert "cannot be made" in err


def test_a_file_in_the_place_of_the_folder_is_refused(run, case, tmp_path):
    (tmp_path / "file").write_text("in the way")
    code, err = run("-t1", case[0], "-t2", case[1], "-o", tmp_path / "file")
    assert code == 3
    assert "cannot be made" in err
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.shared
@pytest.mark.slow
def test_what_is_written_equals_the_anima_tools(run, shared, tmp_path):
    golden = shared / "golden" / "preprocessing"
    scans = ("-t1", golden / "time01_masked.nii.gz", "-t2", golden / "time02_masked.nii.gz")
    mask = ("--brain-mask", golden / "brain_mask.nii.gz")
    for options, second, bars in (
        (("--recipe", "paper"), "time02_n4_nlm", (1e-4, 1e-4)),
        (("--recipe", "challenge", "--match-histogram"), "time02_n4_matched", (1e-4, 1e-3)),
    ):
        assert run(*scans, *mask, "-o", tmp_path, "--quiet", *options)[0] == 0
        names = ("time01_n4_nlm" if "paper" in options else "time01_n4", second)
        for written, name, bar in zip((TIME1, TIME2), names, bars, strict=True):
            expected = nib.load(golden / f"{name}.nii.gz").get_fdata()
            assert relative_rms(voxels(tmp_path / written), expected) <= bar, name
