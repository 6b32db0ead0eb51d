"""Cases of a batch: one network for all, the mask of `segment`, and one that fails is named while the others go on."""

import csv
import json

import pytest
from closed_folder import close
from small_case import BRAIN_MASK
from written_tables import rows

from lesionwise.batch import computer as computer_module
from lesionwise.case_files import Case
from lesionwise.challenge_layout import TIME1, TIME2
from lesionwise.engine import Engine, Settings
from lesionwise.inference import Windows
from lesionwise.pipeline import segment_case
from lesionwise.preprocessing.recipe import Recipe
from lesionwise.progress import Progress


def test_a_failing_case_is_named_and_the_others_go_on(batch, cohort, weights, tmp_path, monkeypatch):
    started = []
    start = Engine.start.__func__
    monkeypatch.setattr(
        Engine, "start", classmethod(lambda cls, *given: started.append(1) or start(cls, *given))
    )
    code, out, err = batch("--probabilities")
    assert code == 1
    assert len(started) == 1  # the network is loaded once
    assert "1 of 3 cases failed: b" in err.splitlines()[-1]
    assert "2 cases done, 0 kept from before, 1 failed" in out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a",
        *("c", "cohort.csv", "cohort.html", "lesions.csv"),
    ]
    files = ["probabilities.nii.gz", "report.json", "segmentation.nii.gz"]
    assert sorted(path.name for path in (tmp_path / "out/c").iterdir()) == files

    table = rows(tmp_path / "out/cohort.csv")
    assert [row["state"] for row in table.values()] == ["done", "failed", "done"]
    assert table["a"]["new_lesions"] == "2"
    assert TIME2 in table["b"]["error"]
    report = json.loads((tmp_path / "out/a/report.json").read_text())
    assert float(table["a"]["new_lesion_volume_mm3"]) == report["new_lesion_volume_mm3"]
    with (tmp_path / "out/lesions.csv").open() as file:
        lesions = list(csv.DictReader(file))
    assert [(row["case"], row["lesion"]) for row in lesions] == [
        ("a", "1"),
        ("a", "2"),
        ("c", "1"),
        ("c", "2"),
    ]
    assert float(lesions[0]["x_mm"]) == pytest.approx(report["lesions"][0]["centre_mm"][0], abs=0.006)


def test_what_may_not_be_looked_into_does_not_end_the_batch(batch, cohort, tmp_path, monkeypatch):
    (cohort / "lost+found").mkdir()
    (tmp_path / "out/a").mkdir(parents=True)
    close(monkeypatch, cohort / "lost+found")
    close(monkeypatch, tmp_path / "out/a")
    code, out, err = batch()
    assert code == 1
    assert "1 cases done, 0 kept from before, 2 failed" in out
    assert "passed over, no permission to look into: lost+found\n" in err
    table = rows(tmp_path / "out/cohort.csv")
    assert list(table) == ["a", "b", "c"]
    assert "Permission denied" in table["a"]["error"]


def test_a_patient_whose_scans_were_not_fetched_fails_by_name(batch, cohort, tmp_path):
    for name in (TIME1, TIME2):
        (cohort / "a" / name).unlink()
        (cohort / "a" / name).symlink_to("../.git/annex/objects/key")
    code, _, err = batch()
    assert code == 1
    assert "2 of 3 cases failed: a, b" in err
    assert f"{cohort / 'a' / TIME1}: no such file" in rows(tmp_path / "out/cohort.csv")["a"]["error"]


def test_a_case_of_a_batch_gives_the_mask_of_segment(batch, cohort, weights, tmp_path):
    batch()
    recipe = Recipe(bias_correction=False, denoising=False)
    settings = Settings(recipe=recipe, windows=Windows(64, 0), weights=weights, device="cpu")
    files = cohort / "a" / TIME1, cohort / "a" / TIME2, tmp_path / "single.nii.gz"
    segment_case(Case(*files, brain_mask=cohort / "a" / BRAIN_MASK), settings, Progress())
    single = (tmp_path / "single.nii.gz").read_bytes()
    assert single == (tmp_path / "out/a/segmentation.nii.gz").read_bytes()


def test_a_case_that_fails_later_keeps_its_outputs_and_says_so(batch, cohort, tmp_path):
    batch()
    (cohort / "a" / TIME1).write_bytes(b"damaged")
    batch()
    row = rows(tmp_path / "out/cohort.csv")["a"]
    assert row["state"] == "failed"
    assert "earlier start" in row["error"]
    assert (tmp_path / "out/a/segmentation.nii.gz").exists()


def test_any_error_of_a_case_is_its_own(batch, monkeypatch, tmp_path):
    monkeypatch.setattr(computer_module, "prepare_case", lambda *_: 1 / 0)
    code, _, err = batch()
    assert code == 1
    assert "3 of 3 cases failed" in err
    assert "unexpected ZeroDivisionError" in rows(tmp_path / "out/cohort.csv")["a"]["error"]
    assert "Traceback" not in err
    _, _, err = batch("--debug", "--quiet")
    assert err.count("lambda *_: 1 / 0") == 2  # of b a scan is missing
    assert TIME2 in err[err.index("Traceback") :]
