"""The next case is prepared while the network is in one: when that is done, and that results stay the same."""

import json
import shutil
import threading

import pytest
from written_tables import rows

from lesionwise.batch import computer as computer_module
from lesionwise.challenge_layout import TIME2
from lesionwise.pipeline import finish_case
from lesionwise.prepared_case import prepare_case


def test_the_next_case_is_prepared_while_the_network_is_in_one(batch, cohort, patient, tmp_path, monkeypatch):
    shutil.copy(patient / TIME2, cohort / "b" / TIME2)
    batch()
    files = ["segmentation.nii.gz", "report.json"]
    mask, report = (tmp_path / "out/b" / name for name in files)
    in_turn = mask.read_bytes(), json.loads(report.read_text())
    prepared, finished = threading.Semaphore(0), []

    def prepare(*arguments):
        made = prepare_case(*arguments)
        prepared.release()
        return made

    def finish(case, *arguments):
        if not finished:
            assert prepared.acquire(timeout=60)
            assert prepared.acquire(timeout=60)  # the second case is ready, and the first one has not begun
        finished.append(case.output.parent.name)
        return finish_case(case, *arguments)

    monkeypatch.setattr(computer_module, "prepare_case", prepare)
    monkeypatch.setattr(computer_module, "finish_case", finish)
    code, _, _ = batch("--prefetch", "--force")
    assert (code, finished) == (0, ["a", "b", "c"])
    assert mask.read_bytes() == in_turn[0]
    overlapped = json.loads(report.read_text())
    assert overlapped["seconds"].keys() == in_turn[1]["seconds"].keys()  # each case has a record of its own
    assert {**overlapped, "seconds": 0} == {**in_turn[1], "seconds": 0}


def test_a_start_with_nothing_left_to_do_ends_well(batch, cohort, patient):
    shutil.copy(patient / TIME2, cohort / "b" / TIME2)
    assert batch("--prefetch")[0] == 0
    code, _, err = batch("--prefetch")
    assert code == 0
    assert "unexpected" not in err


@pytest.mark.parametrize(
    ("threads", "free_gb", "overlaps"), [(2, 9.0, True), (2, 7.0, False), (1, 99.0, False)]
)
def test_cases_overlap_by_default_where_threads_and_memory_are_for_two(threads, free_gb, overlaps):
    assert computer_module.overlap_pays(threads, free_gb) is overlaps


def test_a_failing_case_does_not_stop_those_that_are_prepared_meanwhile(batch, tmp_path):
    code, _, err = batch("--prefetch")
    assert code == 1
    assert "1 of 3 cases failed: b" in err
    assert [row["state"] for row in rows(tmp_path / "out/cohort.csv").values()] == ["done", "failed", "done"]
