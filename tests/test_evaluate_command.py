"""`lesionwise evaluate`: one pair, a cohort, and what it refuses."""

import csv
import json
import math
import os

import nibabel
import numpy as np
import pytest
from closed_folder import close

from lesionwise.cli import main
from lesionwise.cohort_summary import bootstrap_mean
from lesionwise.evaluation import MEASURES

SHAPE = (16, 14, 12)


def box(start, size):
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))] = 1
    return mask


LESION = box((2, 2, 2), (3, 3, 3))
OTHER = box((9, 9, 2), (2, 2, 2))
NOTHING = np.zeros(SHAPE, dtype=np.uint8)


def save(path, mask, spacing_mm=(1, 1, 1), origin_mm=(0, 0, 0), turned=False):
    affine = np.diag([*map(float, spacing_mm), 1.0])
    affine[:3, 3] = origin_mm
    if turned:
        affine[:2, :2] = [[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]]
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(mask, affine).to_filename(path)
    return path


def run(capsys, *arguments):
    """Return the exit code, standard output and standard error of `lesionwise evaluate`."""
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", *map(str, arguments)])
    output = capsys.readouterr()
    return ended.value.code, output.out, output.err


@pytest.fixture
def pair(tmp_path):
    def make(prediction, truth, **geometry):
        return (
            "-i",
            save(tmp_path / "prediction.nii.gz", prediction, **geometry),
            "-r",
            save(tmp_path / "truth.nii.gz", truth),
        )

    return make


# ---- one pair ---------------------------------------------------------------------------------------------------------


def test_a_pair_gives_the_tools_names_and_null_for_nan(pair, capsys):
    code, out, err = run(capsys, *pair(LESION | OTHER, LESION))
    measures = json.loads(out)
    assert (code, err) == (0, "")
    assert tuple(measures) == MEASURES
    assert (measures["SensL"], measures["PPVL"]) == (1.0, 0.5)
    assert measures["RelativeVolumeError"] == pytest.approx(100 * 8 / 27)
    assert measures["NbTestedLesions"] is None


def test_an_empty_truth_gives_the_tested_measures_alone(pair, capsys):
    _, out, _ = run(capsys, *pair(LESION | OTHER, NOTHING))
    known = {name: value for name, value in json.loads(out).items() if value is not None}
    assert known == {"NbTestedLesions": 2, "VolTestedLesions": 35}


def test_thresholds_are_options(pair, capsys):
    _, out, _ = run(capsys, *pair(LESION | OTHER, LESION), "-v", "8")
    assert json.loads(out)["PPVL"] == 1.0
    _, out, _ = run(capsys, *pair(box((2, 2, 2), (1, 3, 3)), LESION), "--alpha", "0.4", "-y", "1")
    assert json.loads(out)["SensL"] == 0.0


def test_json_goes_to_a_file_too(pair, tmp_path, capsys):
    _, out, _ = run(capsys, *pair(LESION, LESION), "--json", tmp_path / "scores.json")
    assert (tmp_path / "scores.json").read_text() == out


@pytest.mark.parametrize("value", [1, 255])
def test_a_mask_of_one_value_counts_as_empty_and_255_as_lesion(pair, capsys, value):
    _, out, err = run(capsys, *pair(LESION * value, np.ones_like(LESION)))
    assert json.loads(out)["NbTestedLesions"] == 1
    assert "every voxel is 1; a mask of one value counts as empty" in err


def test_nothing_is_said_of_empty_masks(pair, capsys):
    assert run(capsys, *pair(LESION * 0, LESION * 0))[2] == ""


def test_the_lowest_value_is_background(pair, capsys):
    _, out, err = run(capsys, *pair(LESION + 1, LESION))
    assert (json.loads(out)["Dice"], err) == (1.0, "")


def test_fractions_are_cut_off_and_told(pair, capsys):
    code, out, err = run(capsys, *pair(LESION * np.float32(1.9) + OTHER * np.float32(0.9), LESION))
    assert (code, json.loads(out)["Dice"]) == (0, 1.0)
    assert "fractions" in err


def test_several_labels_count_as_one_and_are_told(pair, capsys):
    code, out, err = run(capsys, *pair(LESION + 2 * OTHER, LESION | OTHER))
    assert (code, json.loads(out)["F1_score"]) == (0, 1.0)
    assert "several labels" in err


@pytest.mark.parametrize(
    "geometry",
    [{"spacing_mm": (1, 1, 1.1)}, {"origin_mm": (0, 0.5, 0)}, {"turned": True}],
    ids=["spacing", "origin", "direction"],
)
def test_another_geometry_is_refused(pair, capsys, geometry):
    code, out, err = run(capsys, *pair(LESION, LESION, **geometry))
    assert (code, out) == (3, "")
    assert "grid" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "mask",
    [
        LESION[:, :, :-1],
        LESION[..., None].repeat(2, axis=3),
        np.where(LESION == 1, np.float32(np.nan), np.float32(0)),
        np.where(LESION == 1, np.float32(np.inf), np.float32(0)),
        -LESION.astype(np.int16),
        LESION.astype(np.int32) * 65536,
    ],
    ids=["shape", "4D", "NaN", "infinite", "negative", "too large"],
)
def test_what_is_no_mask_is_refused(pair, capsys, mask):
    code, out, err = run(capsys, *pair(mask, LESION))
    assert (code, out, len(err.splitlines())) == (3, "", 1)
    assert "prediction.nii.gz" in err


def test_a_missing_and_a_broken_file_are_refused(pair, tmp_path, capsys):
    arguments = list(pair(LESION, LESION))
    arguments[1].write_bytes(arguments[1].read_bytes()[:60])
    assert run(capsys, *arguments)[0] == 3
    arguments[1].unlink()
    assert run(capsys, *arguments)[0] == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ["-x", "0"],
        ["-z", "nan"],
        ["-v", "-1"],
        ["-o", "scores.csv"],
        ["--prediction-name", "mask.nii.gz"],
        ["--truth-name", "mask.nii.gz"],
    ],
)
def test_options_that_mean_nothing_are_refused(pair, capsys, arguments):
    code, out, err = run(capsys, *pair(LESION, LESION), *arguments)
    assert (code, out, len(err.splitlines())) == (2, "", 1)


@pytest.mark.parametrize(
    "arguments", [[], ["-i", "a.nii"], ["folder"], ["-i", "a.nii", "-r", "b.nii", "c", "d"]]
)
def test_two_files_or_two_folders_are_needed(capsys, arguments):
    assert run(capsys, *arguments)[0] == 2


@pytest.mark.parametrize(("unit", "per_mm"), [("meter", 1e-3), ("micron", 1e3)])
def test_the_unit_of_the_headers_changes_no_measure(pair, tmp_path, capsys, unit, per_mm):
    _, in_mm, _ = run(capsys, *pair(LESION | OTHER, LESION | box((12, 2, 8), (1, 1, 3))))
    assert json.loads(in_mm)["SensL"] == 1  # the three voxels, 3 mm3, are no lesion
    for name in ("prediction.nii.gz", "truth.nii.gz"):
        mask = nibabel.load(tmp_path / name)
        stored = nibabel.Nifti1Image(np.asarray(mask.dataobj), np.diag([per_mm, per_mm, per_mm, 1.0]))
        stored.header.set_xyzt_units(unit)
        stored.to_filename(tmp_path / name)
    code, out, err = run(capsys, "-i", tmp_path / "prediction.nii.gz", "-r", tmp_path / "truth.nii.gz")
    assert (code, out, err) == (0, in_mm, "")


# ---- a cohort ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def cohort(tmp_path):
    """Write five patients and return their folders: found, half found, missing, quiet, and without truth."""
    predictions, truths = tmp_path / "predictions", tmp_path / "truths"
    for patient, prediction, truth in (
        ("p1_found", LESION | OTHER, LESION | OTHER),
        ("p2_half", LESION, LESION | OTHER),
        ("p3_missing", None, LESION),
        ("p4_quiet", OTHER, NOTHING),
        ("p5_no_truth", LESION, None),
    ):
        if prediction is not None:
            save(predictions / patient / "segmentation.nii.gz", prediction)
        if truth is not None:
            save(truths / patient / "ground_truth.nii.gz", truth)
    return predictions, truths


def test_a_cohort_is_scored_patient_by_patient(cohort, tmp_path, capsys):
    code, out, _ = run(capsys, *cohort, "-o", tmp_path / "scores.csv", "--json", tmp_path / "summary.json")
    assert code == 0

    text = (tmp_path / "scores.csv").read_text()
    rows = {row["case"]: row for row in csv.DictReader(text.splitlines())}
    assert list(rows) == ["p1_found", "p2_half", "p3_missing", "p4_quiet"]
    assert [row["F1_score"] for row in rows.values()] == ["1.000000", "0.666667", "0.000000", ""]
    assert [row["prediction"] for row in rows.values()] == ["found", "found", "missing", "found"]
    assert rows["p3_missing"]["PPV"] == ""
    assert rows["p4_quiet"]["VolTestedLesions"] == "8.000000"
    assert rows["p2_half"]["truth_lesions"] == "2"
    assert rows["p2_half"]["detected_lesions"] == "1"
    assert "nan" not in text

    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["patients_with_lesions"], summary["patients_without_lesions"]) == (3, 1)
    assert summary["with_lesions"]["F1_score"]["mean"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert (summary["false_lesions"]["mean"], summary["false_mm3"]["mean"]) == (1, 8)
    assert summary["missing_predictions"] == ["p3_missing"]
    assert summary["without_truth"] == ["p5_no_truth"]
    assert summary["by_size"] == [
        {"size_mm3": "<10", "truth_lesions": 2, "detected_lesions": 1, "false_lesions": 1},
        {"size_mm3": "10-50", "truth_lesions": 3, "detected_lesions": 2, "false_lesions": 0},
        {"size_mm3": "50-200", "truth_lesions": 0, "detected_lesions": 0, "false_lesions": 0},
        {"size_mm3": ">200", "truth_lesions": 0, "detected_lesions": 0, "false_lesions": 0},
    ]
    for line in ("p3_missing", "p5_no_truth", "1/2 detected", "2/3 detected"):
        assert line in out


def test_files_are_matched_with_files_and_with_folders(tmp_path, capsys):
    save(tmp_path / "predictions" / "a.nii.gz", LESION)
    save(tmp_path / "predictions" / "b.nii", OTHER)
    save(tmp_path / "truths" / "a.nii.gz", LESION)
    save(tmp_path / "truths" / "b" / "mask.nii.gz", OTHER)
    folders = [tmp_path / "predictions", tmp_path / "truths"]
    code, out, _ = run(capsys, *folders, "--truth-name", "mask.nii.gz")
    assert code == 0
    assert "patients with new lesions: 2" in out
    assert "1.000  [1.000, 1.000]" in out


def test_a_patient_folder_without_truth_is_listed(cohort, capsys):
    (cohort[1] / "p6_forgotten").mkdir()
    assert "not scored: p5_no_truth, p6_forgotten" in run(capsys, *cohort)[1]


def test_a_broken_prediction_ends_the_run_and_writes_nothing(cohort, tmp_path, capsys):
    (cohort[0] / "p2_half" / "segmentation.nii.gz").write_bytes(b"broken")
    (tmp_path / "scores.csv").write_text("earlier")
    code, out, err = run(capsys, *cohort, "-o", tmp_path / "scores.csv")
    assert (code, out) == (3, "")
    assert "p2_half" in err
    assert (tmp_path / "scores.csv").read_text() == "earlier"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["predictions", "scores.csv", "truths"]


def test_a_patient_found_twice_and_no_truth_are_refused(cohort, tmp_path, capsys):
    code, _, err = run(capsys, cohort[0], cohort[0])
    assert (code, "--truth-name" in err) == (3, True)
    save(cohort[0] / "p1_found.nii.gz", LESION)
    code, _, err = run(capsys, *cohort)
    assert (code, "two masks" in err) == (3, True)
    assert run(capsys, tmp_path / "nowhere", cohort[1])[0] == 3


def test_names_that_match_no_prediction_are_refused(cohort, capsys):
    code, _, err = run(capsys, *cohort, "--prediction-name", "typo.nii.gz")
    assert (code, "--prediction-name" in err) == (3, True)


@pytest.mark.parametrize("link", ["p3_missing/segmentation.nii.gz", "p3_missing.nii.gz"])
def test_a_link_that_leads_nowhere_is_no_missing_prediction(cohort, capsys, link):
    (cohort[0] / link).parent.mkdir(exist_ok=True)
    (cohort[0] / link).symlink_to("moved.nii.gz")
    code, _, err = run(capsys, *cohort)
    assert (code, link in err, "no such file" in err) == (3, True, True)


@pytest.mark.parametrize("folder", ["predictions/p2_half", "truths/p2_half"])
def test_a_folder_that_cannot_be_looked_into_is_no_missing_mask(
    cohort, tmp_path, capsys, monkeypatch, folder
):
    close(monkeypatch, tmp_path / folder)
    code, out, err = run(capsys, *cohort)
    assert (code, out, len(err.splitlines())) == (3, "", 1)
    assert f"{tmp_path / folder}: cannot be looked into (Permission denied)" in err


@pytest.mark.parametrize(
    "name", ["truths/p1_found/ground_truth.nii.gz", "predictions/p5_no_truth/segmentation.nii.gz"]
)
def test_an_output_that_is_an_input_is_refused(cohort, tmp_path, capsys, name):
    before = (tmp_path / name).read_bytes()
    assert run(capsys, *cohort, "-o", tmp_path / name)[0] == 2
    assert (tmp_path / name).read_bytes() == before


def test_the_bootstrap_interval_is_that_of_known_cases():
    assert bootstrap_mean([0.5, 0.5, math.nan]) == bootstrap_mean([0.5, 0.5])
    constant = bootstrap_mean([0.5, 0.5])
    assert (constant.mean, constant.low, constant.high, constant.patients) == (0.5, 0.5, 0.5, 2)
    assert bootstrap_mean([math.nan]).patients == 0
    # The mean of 100 fair coins has a standard error of 0.05.
    coins = bootstrap_mean([0.0, 1.0] * 50)
    assert coins.mean == 0.5
    assert coins.low == pytest.approx(0.5 - 1.96 * 0.05, abs=0.012)
    assert coins.high == pytest.approx(0.5 + 1.96 * 0.05, abs=0.012)


def test_names_that_are_no_utf8_are_written_with_escapes(capsys, tmp_path):
    for name in (b"patient\xe9.nii.gz", b"patient\xe8.nii.gz"):
        save(tmp_path / "truth" / os.fsdecode(name), LESION)
    save(tmp_path / "predicted" / os.fsdecode(b"patient\xe9.nii.gz"), LESION)
    scores = tmp_path / "scores.csv"
    code, out, err = run(capsys, tmp_path / "predicted", tmp_path / "truth", "-o", scores)
    assert code == 0, err
    assert r"patient\xe8" in out  # it has no prediction
    with scores.open() as file:
        assert [row["case"] for row in csv.DictReader(file)] == [r"patient\xe8", r"patient\xe9"]


def test_names_of_patients_do_nothing_in_a_table_or_on_a_screen(capsys, tmp_path):
    for name in ("=cmd()", "q\nr", "s\x1b[31m"):
        save(tmp_path / "truth" / name / "ground_truth.nii.gz", 3 * LESION + 5 * OTHER)  # two labels: a note
    save(tmp_path / "predicted" / "=cmd()" / "segmentation.nii.gz", LESION)
    scores = tmp_path / "scores.csv"
    code, out, err = run(capsys, tmp_path / "predicted", tmp_path / "truth", "-o", scores)
    assert code == 0, err
    with scores.open() as file:
        assert [row["case"] for row in csv.DictReader(file)] == ["'=cmd()", "q\\nr", "s\\x1b[31m"]
    assert "q\\nr, s\\x1b[31m" in out
    assert len(err.splitlines()) == 3
    assert "\x1b" not in out + err
