"""Scores that are measured again: what counts as another score, and what is refused before anything is segmented."""

import json

import pytest
from click.testing import CliRunner

from lesionwise.errors import InputError, UsageError
from train.model_card import with_facts
from train.stated_scores import all_differences, differences, stated_validation
from train.validate import main

ROW = {"F1_score": 0.6, "Dice": 0.7, "SensL": 0.5, "PPVL": 0.75}
STATED = {"reference": "truth.nii", "window": None, "precision": "fp32", "scores": {"p1": ROW}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, []),
        ({"F1_score": 0.64, "Dice": 0.66, "SensL": 1.0}, []),
        ({"F1_score": 0.66}, ["p1: F1_score 0.660, stated is 0.600"]),
        ({"Dice": float("nan")}, ["p1: Dice nan, stated is 0.700"]),
    ],
)
def test_scores_differ_beyond_the_tolerance(change, words):
    assert differences({"p1": {**ROW, **change}}, {"p1": ROW}) == words


def test_a_row_that_is_missing_is_a_difference():
    assert differences({"p1": ROW}, {"p1": ROW, "p2": ROW}) == ["p2: only in one of the two"]


@pytest.mark.parametrize("name", ["swapped", "reviewed"])
def test_other_scores_of_swapped_times_and_reviewed_findings_are_differences(name):
    rows, others = {"p1": ROW}, {"p1": {**ROW, "Dice": 0.5}}
    assert all_differences({**STATED, name: rows}, {**STATED, name: rows}) == []
    assert all_differences(STATED, {**STATED, name: rows}) == []
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


def test_the_card_shows_swapped_pairs_and_reviewed_findings_where_they_were_measured():
    marks = "\n".join(
        f"<!-- {name} -->\n<!-- end of {name} -->" for name in ("network", "scores", "sources", "training")
    )
    manifest = {
        "file": "f",
        "sha256": "s",
        "architecture": {"width": 8},
        "threshold": 0.5,
        "peak": 0.9,
        "training_data": [],
        "training": {"command": "train"},
        "commit": "abc",
        "validation": {
            **STATED,
            "reviewed": {"p1": {**ROW, "F1_score": 0.875}},
            "swapped": {"p1": {**ROW, "F1_score": 0.125}},
        },
    }
    card = with_facts(marks, manifest)
    assert "--precision fp32 --swapped --record" in card
    assert "--reviewed weights/reviewed_findings.csv" in card
    assert "| p1 | 0.600 | 0.700 |" in card.split("Findings that are new")[0]
    assert "| p1 | 0.875 | 0.700 |" in card.split("The times swapped")[0]
    assert "| p1 | 0.125 | 0.700 |" in card.split("The times swapped")[1]
