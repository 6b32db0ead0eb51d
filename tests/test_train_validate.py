"""Scores that are measured again: what counts as another score, and what is refused before anything is segmented."""

import json

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner

from lesionwise.challenge_layout import TIME1, TIME2
from lesionwise.errors import InputError, PreprocessingError, UsageError
from train import validate
from train.model_card import CARD, REVIEWED, refresh, with_facts
from train.stated_scores import all_differences, differences, stated_validation, with_mean
from train.validate import main

ROW = {"F1_score": 0.6, "Dice": 0.7, "SensL": 0.5, "PPVL": 0.75}
STATED = {"reference": "truth.nii", "window": None, "precision": "fp32", "scores": {"p1": ROW}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, []),
        ({"F1_score": 0.64, "Dice": 0.66, "SensL": 0.46, "PPVL": 0.79, "lesions": 3, "false_lesions": 1}, []),
        ({"SensL": 0.7}, ["p1: SensL 0.700, stated is 0.500"]),
        ({"PPVL": 0.6}, ["p1: PPVL 0.600, stated is 0.750"]),
        ({"F1_score": 0.66}, ["p1: F1_score 0.660, stated is 0.600"]),
        ({"Dice": float("nan")}, ["p1: Dice nan, stated is 0.700"]),
    ],
)
def test_scores_differ_beyond_the_tolerance(change, words):
    assert differences({"p1": {**ROW, **change}}, {"p1": ROW}) == words


def test_means_differ_sooner_than_pairs():
    scores, others = {"mean": ROW}, {"mean": {**ROW, "F1_score": 0.63}}
    assert differences(scores, others) == ["mean: F1_score 0.600, stated is 0.630"]
    assert differences({"mean": {**ROW, "F1_score": 0.62}}, others) == []


def test_a_patient_without_new_lesions_is_compared_by_what_is_false():
    row = {"lesions": 2, "false_lesions": 2, "false_mm3": 30.0}
    assert differences({"p1": row}, {"p1": {**row, "lesions": 1, "false_lesions": 1, "false_mm3": 9.0}}) == []
    assert differences({"p1": row}, {"p1": {**row, "false_lesions": 4}}) == [
        "p1: false_lesions 2.000, stated is 4.000"
    ]
    assert "p1: F1_score only in one of the two" in differences({"p1": {**row, **ROW}}, {"p1": row})


def test_means_are_over_the_patients_that_have_the_measure():
    rows = {"p1": {**ROW, "false_lesions": 1}, "p2": {"false_lesions": 4}}
    assert with_mean(rows)["mean"] == {**ROW, "false_lesions": 2.5}
    assert with_mean({"p2": rows["p2"]})["mean"] == {"false_lesions": 4}


def test_a_row_that_is_missing_is_a_difference():
    assert differences({"p1": ROW}, {"p1": ROW, "p2": ROW}) == ["p2: only in one of the two"]


@pytest.mark.parametrize("name", ["swapped", "reviewed"])
def test_other_scores_of_swapped_times_and_reviewed_findings_are_differences(name):
    rows, others = {"p1": ROW}, {"p1": {**ROW, "Dice": 0.5}}
    assert all_differences({**STATED, name: rows}, {**STATED, name: rows}) == []
    assert all_differences(STATED, {**STATED, name: rows}) == [f"{name} p1: only in one of the two"]
    assert all_differences({**STATED, name: others}, {**STATED, name: rows}) == [
        f"{name} p1: Dice 0.500, stated is 0.700"
    ]
    assert all_differences({**STATED, name: rows}, STATED) == [f"{name} p1: only in one of the two"]


@pytest.mark.parametrize("validation", [{}, {"reference": "truth.nii", "precision": "fp32", "scores": {}}])
def test_what_was_never_measured_cannot_be_checked(tmp_path, validation):
    (tmp_path / "manifest.json").write_text(json.dumps({"validation": validation}))
    with pytest.raises(InputError, match="--record"):
        stated_validation(tmp_path)


def test_check_and_record_exclude_each_other(tmp_path):
    result = CliRunner().invoke(main, [str(tmp_path), "--check", "--record"])
    assert result.exit_code == UsageError.exit_code
    assert result.output.count("\n") == 1


MARKS = "\n".join(
    f"<!-- {name} -->\n<!-- end of {name} -->" for name in ("network", "scores", "sources", "training")
)
MANIFEST = {
    "file": "f",
    "sha256": "s",
    "architecture": {"width": 8},
    "threshold": 0.5,
    "certainty": 0.9,
    "training_data": [],
    "training": {"command": "train"},
    "commit": "abc",
}


def write(file, *cubes, label=1):
    """Write an image of 16^3 voxels of 2 mm, 0 but for cubes of two voxels."""
    image = np.zeros((16, 16, 16), np.uint8)
    for start in cubes:
        image[tuple(slice(s, s + 2) for s in start)] = label
    nib.save(nib.Nifti1Image(image, np.diag([2.0, 2, 2, 1])), file)


@pytest.fixture
def cohort(tmp_path, monkeypatch):
    """Return a folder of two patients, the second without new lesions, and of weights; two lesions are found in each."""

    def segment(case, _settings, _progress):
        write(case.output, (2, 2, 2), (10, 10, 10))

    monkeypatch.setattr(validate, "segment_case", segment)
    for name, cubes in (("p1", [(2, 2, 2)]), ("p2", [])):
        (tmp_path / name).mkdir()
        for scan in (TIME1, TIME2):
            (tmp_path / name / scan).touch()
        write(tmp_path / name / "ground_truth.nii.gz", *cubes)
        write(tmp_path / name / validate.SIGN, (10, 10, 10), label=validate.DARKER)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / CARD).write_text(MARKS)
    (tmp_path / "weights" / "manifest.json").write_text(json.dumps(MANIFEST))
    (tmp_path / "weights" / REVIEWED).write_text(
        "patient,x_mm,y_mm,z_mm,finding\np2,20,20,20,new to the eye\n"
    )
    return tmp_path


def run(cohort, *options):
    patients = [str(cohort / name) for name in ("p1", "p2")]
    return CliRunner().invoke(main, [*patients, "--weights", str(cohort / "weights"), *options])


def test_a_patient_without_new_lesions_is_recorded_and_checked(cohort):
    reviewed = str(cohort / "weights" / REVIEWED)
    recorded = run(cohort, "--swapped", "--reviewed", reviewed, "--record")
    assert recorded.exit_code == 0, recorded.output
    text = (cohort / "weights" / "manifest.json").read_text()
    assert "NaN" not in text
    found = json.loads(text)["validation"]
    one_of_two = {"F1_score": 0.6667, "Dice": 0.6667, "SensL": 1.0, "PPVL": 0.5}
    assert found["scores"] == {
        "p1": {**one_of_two, "lesions": 2, "false_lesions": 1, "false_mm3": 64.0},
        "p2": {"lesions": 2, "false_lesions": 2, "false_mm3": 128.0},
        "mean": {**one_of_two, "lesions": 2, "false_lesions": 1.5, "false_mm3": 96.0},
    }
    assert found["reviewed"]["p2"] == {"lesions": 1, "false_lesions": 1, "false_mm3": 64.0}
    assert found["swapped"]["p2"]["false_lesions"] == 1
    card = (cohort / "weights" / CARD).read_text()
    assert "| p2 |  |  |  |  | 2 | 2 | 128 |" in card
    checked = run(cohort, "--check")
    assert checked.exit_code == 0, checked.output
    assert "as the manifest and the model card state" in checked.output


def test_what_is_stated_is_checked_without_being_asked_for(cohort):
    run(cohort, "--swapped", "--record")
    file = cohort / "weights" / "manifest.json"
    stated = json.loads(file.read_text())
    stated["validation"]["swapped"]["p1"]["SensL"] = 0.9
    file.write_text(json.dumps(stated))
    refresh(cohort / "weights")
    result = run(cohort, "--check")
    assert result.exit_code == InputError.exit_code
    assert "swapped p1: SensL 1.000, stated is 0.900" in result.output


@pytest.mark.parametrize("missing", ["ground_truth.nii.gz", validate.SIGN])
def test_what_a_patient_lacks_is_told_before_the_first_is_segmented(cohort, monkeypatch, missing):
    monkeypatch.setattr(validate, "segment_case", lambda *_a: pytest.fail("segmented"))
    (cohort / "p2" / missing).unlink()
    result = run(cohort, "--swapped")
    assert result.exit_code == InputError.exit_code
    assert f"p2/{missing}: there is no such file" in result.output


def test_what_was_measured_is_told_where_a_later_patient_fails(cohort, monkeypatch):
    segment = validate.segment_case

    def segment_first(case, *others):
        if case.time1.parent.name == "p2":
            raise PreprocessingError("time 1: no brain was found", "give one with --brain-mask")
        segment(case, *others)

    monkeypatch.setattr(validate, "segment_case", segment_first)
    result = run(cohort)
    assert result.exit_code == PreprocessingError.exit_code
    first, last = result.output.splitlines()
    assert first.startswith("p1 ")
    assert "F1_score 0.667" in first
    assert last == f"error: p2: time 1: no brain was found; {validate.ADVICE}"


def test_a_place_where_scores_cannot_be_written_is_told_before_anything_is_segmented(cohort, monkeypatch):
    monkeypatch.setattr(validate, "segment_case", lambda *_a: pytest.fail("segmented"))
    result = run(cohort, "--record", "--json", str(cohort / "nowhere" / "scores.json"))
    assert result.exit_code == InputError.exit_code
    assert "nowhere/scores.json: cannot be written" in result.output


def test_two_patients_of_one_name_are_refused(cohort):
    (cohort / "other" / "p1").mkdir(parents=True)
    result = run(cohort, str(cohort / "other" / "p1"))
    assert result.exit_code == InputError.exit_code
    assert "p1: two of the folders are named so" in result.output


def test_the_card_shows_swapped_pairs_and_reviewed_findings_where_they_were_measured():
    manifest = {
        **MANIFEST,
        "validation": {
            **STATED,
            "reviewed": {"p1": {**ROW, "F1_score": 0.875}},
            "swapped": {"p1": {**ROW, "F1_score": 0.125}},
        },
    }
    card = with_facts(MARKS, manifest)
    assert "--precision fp32 --swapped --record" in card
    assert "--reviewed weights/reviewed_findings.csv" in card
    assert "| p1 | 0.600 | 0.700 |" in card.split("Findings that are new")[0]
    assert "| p1 | 0.875 | 0.700 |" in card.split("The times swapped")[0]
    assert "| p1 | 0.125 | 0.700 |" in card.split("The times swapped")[1]
