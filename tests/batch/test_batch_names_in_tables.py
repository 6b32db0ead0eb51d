"""Odd names of cases in tables, pages and on the terminal: escaped, each in its row, and no formula."""

import csv
import os
import shutil

import pytest
from written_tables import rows

from lesionwise.batch.tables import CaseResult, cohort_table, lesions_table
from lesionwise.challenge_layout import TIME2


def test_names_that_are_no_utf8_are_written_with_escapes(batch, cohort, tmp_path, monkeypatch):
    monkeypatch.setattr("lesionwise.pipeline.place_case", lambda *_: None)
    odd = os.fsdecode(b"patient\xe9")
    (cohort / "a").rename(cohort / odd)
    shutil.rmtree(cohort / "c")
    (cohort / "b").rename(cohort / f"{odd}2")  # it fails
    code, out, err = batch("--report")
    assert code == 1
    assert "1 cases done" in out
    assert "unexpected" not in err
    found = rows(tmp_path / "out/cohort.csv")
    assert {name: row["state"] for name, row in found.items()} == {
        r"patient\xe9": "done",
        r"patient\xe92": "failed",
    }
    assert rf"{cohort}/patient\xe92/" in found[r"patient\xe92"]["error"]
    assert 'href="patient%E9/report.html"' in (tmp_path / "out/cohort.html").read_text()
    assert (tmp_path / "out" / odd / "segmentation.nii.gz").is_file()


def test_names_with_control_characters_are_shown_with_escapes(batch, cohort, tmp_path):
    (cohort / "a").rename(cohort / "a\x1b[2J\r\nok")
    (cohort / "b").rename(cohort / "b\x1b]0;\x07")  # it fails
    shutil.rmtree(cohort / "c")
    code, _, err = batch()
    assert code == 1
    assert r"1 of 2: a\x1b[2J\r\nok: 2 new lesions" in err
    assert r"1 of 2 cases failed: b\x1b]0;\x07" in err.splitlines()[-1]
    assert not set(err) & {"\x1b", "\r", "\x07"}
    found = rows(tmp_path / "out/cohort.csv")
    assert list(found) == [r"a\x1b[2J\r\nok", r"b\x1b]0;\x07"]
    assert TIME2 in found[r"b\x1b]0;\x07"]["error"]
    assert str(tmp_path) not in (tmp_path / "out/cohort.html").read_text()


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("-x", "'-x"),
        ("@x", "'@x"),
        ("+x", "'+x"),
        ("\t=1", r"\t=1"),
        ("a\rb", r"a\rb"),
        ("a\u2028b", r"a\u2028b"),
        ("a -b", "a -b"),
        ("é=", "é="),
    ],
)
def test_a_text_in_a_table_stays_text_and_in_its_row_and_numbers_stay_numbers(name, cell):
    lesion = dict.fromkeys(("longest_diameter_mm", "mean_probability", "max_probability"), 0.5)
    lesion |= {"id": 1, "volume_mm3": 9.0, "voxels": 9, "centre_mm": (-1.0, -2.0, 3.0)}
    report = {"new_lesions": 1, "new_lesion_volume_mm3": 9.0, "warnings": [name], "lesions": [lesion]}
    results = [CaseResult(name, "kept", report, error=name), CaseResult("next")]
    row, last = csv.DictReader(cohort_table(results).splitlines())
    assert (row["case"], row["warnings"], row["error"], last["case"]) == (cell, cell, cell, "next")
    (row,) = csv.DictReader(lesions_table(results).splitlines())
    assert (row["case"], row["x_mm"], row["y_mm"]) == (cell, "-1.00", "-2.00")
