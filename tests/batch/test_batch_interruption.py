"""A batch that is interrupted or killed: nothing unfinished stays, and the next start goes on."""

import os
import shutil
import threading
from concurrent.futures import wait
from pathlib import Path

import pytest
from small_case import BRAIN_MASK
from written_tables import rows

from lesionwise.batch import computer as computer_module
from lesionwise.batch.cases import Extras
from lesionwise.batch.layouts import find_cases
from lesionwise.batch.resume import refuse_others_work
from lesionwise.pipeline import finish_case
from lesionwise.prepared_case import prepare_case


def test_whenever_a_start_is_killed_the_next_one_goes_on(batch, cohort, tmp_path, monkeypatch):
    monkeypatch.setattr("lesionwise.pipeline.place_case", lambda *_: None)
    shutil.rmtree(cohort / "b")
    shutil.rmtree(cohort / "c")
    moments, (rename, replace) = [], (Path.rename, os.replace)

    def told_of(move):
        def moved(source, target):
            move(source, target)
            moments.append(shutil.copytree(tmp_path / "out", tmp_path / f"moment{len(moments)}"))

        return moved

    extras = Extras(probabilities=True, brain_mask_name=BRAIN_MASK, report=True)
    batch("--probabilities", "--report")
    monkeypatch.setattr(Path, "rename", told_of(rename))
    monkeypatch.setattr(os, "replace", told_of(replace))
    batch("--probabilities", "--report", "--threshold", "0.9")
    masks = []
    for moment in moments:
        _, (item,) = find_cases(cohort, moment, extras=extras)
        refuse_others_work(item.case)
        masks.append(item.case.output.exists())
    assert not all(masks)  # moments between the names of a case's files were among them


@pytest.mark.parametrize(
    ("stop", "code", "more"),
    [(KeyboardInterrupt(), 130, []), (SystemExit(143), 143, []), (KeyboardInterrupt(), 130, ["--prefetch"])],
)
def test_an_interruption_keeps_what_is_done_and_the_next_start_goes_on(
    batch, cohort, patient, tmp_path, monkeypatch, computed, stop, code, more
):
    shutil.copytree(patient, cohort / "d")

    def interrupted(case, *arguments):
        if case.output.parent.name == "c":
            raise stop
        return finish_case(case, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(computer_module, "finish_case", interrupted)
        ended, _, err = batch(*more)
    assert ended == code
    assert "unfinished outputs were removed" in err
    assert [row["state"] for row in rows(tmp_path / "out/cohort.csv").values()] == [
        *("done", "failed", "not run", "not run"),
    ]
    assert not (tmp_path / "out/c").exists()
    assert not (tmp_path / "out/d").exists()
    assert not list((tmp_path / "out").rglob("*.part"))
    batch()
    assert computed == ["c", "d"]


def test_an_interruption_while_the_first_case_is_prepared_leaves_no_folder(batch, tmp_path, monkeypatch):
    begun = threading.Event()

    def prepare(*arguments):
        begun.set()
        return prepare_case(*arguments)

    def interrupted(futures):
        monkeypatch.setattr(computer_module, "wait", wait)
        assert begun.wait(timeout=60)
        raise KeyboardInterrupt

    monkeypatch.setattr(computer_module, "prepare_case", prepare)
    monkeypatch.setattr(computer_module, "wait", interrupted)
    code, _, _ = batch("--prefetch")
    assert code == 130
    assert not [path for path in (tmp_path / "out").iterdir() if path.is_dir()]


def test_temporary_tables_of_a_killed_start_are_removed(batch, tmp_path):
    (tmp_path / "out").mkdir()
    for name in ("cohort.csv", "lesions.csv", "cohort.html"):
        (tmp_path / "out" / f".{name}.0123abcd.part").touch()
    batch()
    assert not list((tmp_path / "out").glob(".*"))
