"""A batch started again computes what is missing or not current, and nothing twice."""

import json
import shutil
from contextlib import suppress

import nibabel as nib
import numpy as np
import pytest
from small_case import BRAIN_MASK
from written_tables import rows

from lesionwise import __version__
from lesionwise.batch.cases import Extras
from lesionwise.batch.layouts import find_cases
from lesionwise.batch.resume import finished_report
from lesionwise.batch.run import write_cohort
from lesionwise.batch.tables import CaseResult
from lesionwise.challenge_layout import TIME2
from lesionwise.errors import InputError
from lesionwise.inference import Windows, predict_in_memory
from lesionwise.weights import MANIFEST


def test_a_second_start_computes_what_is_missing_or_not_current(batch, cohort, patient, tmp_path, computed):
    batch()
    assert computed == ["a", "c"]
    shutil.copy(patient / TIME2, cohort / "b" / TIME2)  # mended
    (tmp_path / "out/c/segmentation.nii.gz").unlink()  # incomplete
    computed.clear()
    code, out, _ = batch()
    assert code == 0
    assert computed == ["b", "c"]
    assert "2 cases done, 1 kept from before, 0 failed" in out
    assert rows(tmp_path / "out/cohort.csv")["a"]["state"] == "kept"
    assert rows(tmp_path / "out/cohort.csv")["a"]["new_lesions"] == "2"

    computed.clear()
    image = nib.load(cohort / "a" / TIME2)  # another input under the same name
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[:, :, ::-1], image.affine), cohort / "a" / TIME2)
    batch()
    assert computed == ["a"]
    computed.clear()
    batch("--threshold", "0.9")
    assert computed == ["a", "b", "c"]
    computed.clear()
    batch("--threshold", "0.9", "--threads", "2")  # how it is computed, not what
    assert computed == []
    batch("--threshold", "0.9", "--probabilities")  # one more output
    assert computed == ["a", "b", "c"]
    computed.clear()
    batch("--threshold", "0.9", "--force")
    assert computed == ["a", "b", "c"]


@pytest.mark.parametrize(
    "stated",
    [
        {"temperature": 3.0},
        {"lesion_confidence": {"intercept": 1.0, "per_log_mm3": 0.25, "per_logit": 0.5}},
    ],
)
def test_what_the_manifest_alone_says_of_the_results_makes_them_outdated(
    batch, weights, tmp_path, computed, stated
):
    own = shutil.copytree(weights, tmp_path / "weights")
    batch("--weights", own)
    manifest = json.loads((own / MANIFEST).read_text())
    (own / MANIFEST).write_text(json.dumps(manifest | {"comment": "new"}))
    computed.clear()
    batch("--weights", own)
    assert computed == []
    (own / MANIFEST).write_text(json.dumps(manifest | stated))
    batch("--weights", own)
    assert computed == ["a", "c"]
    settings = json.loads((tmp_path / "out/a/report.json").read_text())["settings"]
    assert stated.items() <= settings.items()
    computed.clear()
    batch("--weights", own)
    assert computed == []


def test_what_another_state_of_the_program_computed_is_outdated(batch, tmp_path, computed, monkeypatch):
    batch()
    computed.clear()
    with monkeypatch.context() as patch:
        patch.setattr("lesionwise.case_description.program_sha256", lambda: "of another commit")
        batch()
    assert computed == ["a", "c"]
    report = json.loads((tmp_path / "out/a/report.json").read_text())
    assert (report["lesionwise"], report["program_sha256"]) == (__version__, "of another commit")


def test_windows_for_lack_of_memory_are_told_and_the_case_is_kept(batch, tmp_path, computed, monkeypatch):
    def short_of_memory(run, time1, time2, brain, windows, *more):
        return predict_in_memory(run, time1, time2, brain, Windows(16, windows.overlap), *more)

    def told():
        report = json.loads((tmp_path / "out/a/report.json").read_text())
        return report["settings"]["window"], report["settings"]["window_used"], len(report["warnings"])

    with monkeypatch.context() as patch:
        patch.setattr("lesionwise.pipeline.predict_in_memory", short_of_memory)
        batch()
    *windows, warnings = told()
    assert windows == ["brain", 16]
    computed.clear()
    batch()  # where memory stays short, going on would else begin anew each time
    assert computed == []
    batch("--force")
    assert computed == ["a", "c"]
    assert told() == ("brain", "brain", warnings - 1)


def test_each_case_gets_a_page_and_one_of_an_earlier_mask_does_not_count(
    batch, tmp_path, computed, monkeypatch
):
    monkeypatch.setattr("lesionwise.pipeline.place_case", lambda *_: None)
    out = tmp_path / "out"

    def links():
        return [name for name in "abc" if f'href="{name}/report.html"' in (out / "cohort.html").read_text()]

    batch("--report")
    assert (computed, links()) == (["a", "c"], ["a", "c"])
    assert "<canvas" in (out / "a/report.html").read_text()
    assert not (out / "b").exists()  # of a case that fails there is nothing
    computed.clear()
    batch("--report")
    batch()
    assert (computed, links()) == ([], ["a", "c"])
    batch("--threshold", "0.9")  # the pages tell of the masks before
    assert links() == []
    computed.clear()
    batch("--threshold", "0.9", "--report")
    assert (computed, links()) == (["a", "c"], ["a", "c"])


def test_a_page_and_a_map_of_an_earlier_mask_go_with_it_unless_others_wrote_them(
    batch, tmp_path, monkeypatch
):
    monkeypatch.setattr("lesionwise.pipeline.place_case", lambda *_: None)
    first, other = tmp_path / "out/a", tmp_path / "out/c"
    batch("--report", "--probabilities")
    report = json.loads((other / "report.json").read_text())
    (other / "report.json").write_text(json.dumps(report | {"also_written": ["probabilities"]}))
    batch("--threshold", "0.9", "--probabilities")
    written = {"segmentation.nii.gz", "report.json", "probabilities.nii.gz"}
    assert {path.name for path in first.iterdir()} == written
    assert {path.name for path in other.iterdir()} == written | {"report.html"}
    batch("--threshold", "0.8")
    assert {path.name for path in first.iterdir()} == written - {"probabilities.nii.gz"}
    assert {path.name for path in other.iterdir()} == written - {"probabilities.nii.gz"} | {"report.html"}


def test_a_report_that_is_damaged_is_not_taken_for_a_finished_case(batch, tmp_path, computed):
    batch()
    computed.clear()
    report = json.loads((tmp_path / "out/a/report.json").read_text())
    del report["versions"]
    (tmp_path / "out/a/report.json").write_text(json.dumps(report))
    batch()
    assert computed == ["a"]


def test_whatever_a_report_lacks_or_holds_instead_the_cohort_can_be_told(batch, cohort, tmp_path):
    batch()
    table = tmp_path / "out/a/report.json"
    report = json.loads(table.read_text())
    lesion = report["lesions"][0]
    _, items = find_cases(cohort, tmp_path / "out", extras=Extras(brain_mask_name=BRAIN_MASK))

    def is_finished(content):
        table.write_text(json.dumps(content))
        found = None
        with suppress(InputError):  # where the mask is not the one that it tells of
            found = finished_report(items[0].case, report)
        if found:
            write_cohort(items[:1], {"a": CaseResult("a", "kept", found)}, tmp_path)
        return found is not None

    assert is_finished(report)
    for name in report:
        is_finished({other: value for other, value in report.items() if other != name})
        for value in (None, "odd", {"odd": "odd"}, ["odd"], float("nan")):
            is_finished(report | {name: value})
    for name in lesion:
        is_finished(report | {"lesions": [{other: lesion[other] for other in lesion if other != name}]})
        for value in (None, "odd", {"odd": "odd"}, ["odd"], float("nan")):
            is_finished(report | {"lesions": [lesion | {name: value}]})
