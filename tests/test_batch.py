"""A batch of small cases: one network for all, failures named, and nothing computed twice."""

import csv
import errno
import json
import os
import shutil
import threading
from concurrent.futures import wait
from contextlib import suppress
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from closed_folder import close
from small_case import BRAIN_MASK, QUICK_BATCH, write_patient, write_weights

from lesionwise import __version__, cli
from lesionwise.batch import computer as computer_module
from lesionwise.batch.cases import Extras
from lesionwise.batch.layouts import find_cases
from lesionwise.batch.lock import LOCK, alone_in
from lesionwise.batch.resume import finished_report, refuse_others_work
from lesionwise.batch.run import write_cohort
from lesionwise.batch.tables import CaseResult, cohort_table, lesions_table
from lesionwise.case_files import Case
from lesionwise.challenge_layout import TIME1, TIME2
from lesionwise.engine import Engine, Settings
from lesionwise.errors import InputError, UsageError, about
from lesionwise.inference import Windows, predict_in_memory
from lesionwise.pipeline import finish_case, segment_case
from lesionwise.prepared_case import prepare_case
from lesionwise.preprocessing.brain_extraction import not_a_brain
from lesionwise.preprocessing.recipe import Recipe
from lesionwise.progress import Progress
from lesionwise.weights import MANIFEST


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    """Return a patient's folder in the challenge's layout, with a brain mask."""
    return write_patient(tmp_path_factory.mktemp("patient") / "patient")


@pytest.fixture
def cohort(patient, tmp_path):
    """Return a folder of three patients, of whom the second has no time 2."""
    for name in ("a", "b", "c"):
        shutil.copytree(patient, tmp_path / "in" / name)
    (tmp_path / "in/b" / TIME2).unlink()
    return tmp_path / "in"


@pytest.fixture
def batch(cohort, weights, tmp_path, capfd):
    """Return a function that runs the command: (exit code, standard output, standard error)."""

    def run(*more):
        arguments = ["batch", cohort, tmp_path / "out", *QUICK_BATCH, "--weights", weights, *more]
        with pytest.raises(SystemExit) as ended:
            cli.main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return ended.value.code, captured.out, captured.err

    return run


@pytest.fixture
def computed(monkeypatch):
    """Return the list of the cases that went through the network."""
    names = []

    def counted(case, *arguments):
        names.append(case.output.parent.name)
        return finish_case(case, *arguments)

    monkeypatch.setattr(computer_module, "finish_case", counted)
    return names


def rows(path):
    with path.open() as file:
        return {row["case"]: row for row in csv.DictReader(file)}


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


def test_a_way_to_find_brains_that_are_given_is_refused(batch, tmp_path):
    code, _, err = batch("--brain-extraction", "atlas")  # beside --brain-mask-name of QUICK_BATCH
    assert code == 2
    assert "--brain-mask-name); leave one of them out" in err
    assert not (tmp_path / "out").exists()


def no_brain(*_):
    with about("time 1"):
        raise not_a_brain("no brain was found")


def test_where_no_brain_is_found_the_challenges_layout_advises_its_own_option(
    cohort, weights, tmp_path, monkeypatch, capfd
):
    monkeypatch.setattr("lesionwise.scan_pair.find_brain", no_brain)
    with pytest.raises(SystemExit):
        cli.main(list(map(str, ["batch", cohort, tmp_path / "out", "--weights", weights, "--device", "cpu"])))
    found = "time 1: brain extraction failed: no brain was found; check the scans"
    assert f"lesionwise: a: {found} or give --brain-mask-name NAME\n" in capfd.readouterr().err


@pytest.mark.parametrize("option", ["--scheduler", "--brain-mask-name"])
@pytest.mark.parametrize("value", ["", " "])
def test_an_option_without_a_value_is_refused(batch, tmp_path, option, value):
    code, _, err = batch(option, value)
    assert (code, err.count("\n")) == (2, 1)
    assert f"'{option}': it is empty" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["cohort.csv", "lesions.csv", "cohort.html"])
def test_a_table_that_no_batch_wrote_is_not_replaced(batch, tmp_path, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("case,age\na,34\n")
    code, _, err = batch()
    assert code == 2
    assert err.startswith(f"lesionwise: {tmp_path / 'out' / name}: no earlier batch wrote this file")
    assert err.count("\n") == 1
    assert [path.read_text() for path in (tmp_path / "out").iterdir()] == ["case,age\na,34\n"]


def test_a_case_of_a_batch_gives_the_mask_of_segment(batch, cohort, weights, tmp_path):
    batch()
    recipe = Recipe(bias_correction=False, denoising=False)
    settings = Settings(recipe=recipe, windows=Windows(64, 0), weights=weights, device="cpu")
    files = cohort / "a" / TIME1, cohort / "a" / TIME2, tmp_path / "single.nii.gz"
    segment_case(Case(*files, brain_mask=cohort / "a" / BRAIN_MASK), settings, Progress())
    single = (tmp_path / "single.nii.gz").read_bytes()
    assert single == (tmp_path / "out/a/segmentation.nii.gz").read_bytes()


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


@pytest.mark.parametrize("more", [(), ("--threshold", "0.9")])  # also where the case is not current
def test_a_mask_that_was_corrected_by_hand_is_left_and_the_others_go_on(batch, tmp_path, computed, more):
    batch()
    computed.clear()
    mask = tmp_path / "out/a/segmentation.nii.gz"
    mask.write_bytes(b"corrected")
    (tmp_path / "out/c/segmentation.nii.gz").unlink()
    code, _, err = batch(*more)
    assert code == 1
    assert computed == ["c"]
    assert mask.read_bytes() == b"corrected"
    told = f"{mask}: this mask is not the one that was computed (corrected by hand?); move it away, or use --force"
    assert f"lesionwise: a: {told}\n" in err
    table = rows(tmp_path / "out/cohort.csv")
    assert (table["a"]["state"], table["a"]["error"], table["c"]["state"]) == ("failed", told, "done")

    mask.rename(tmp_path / "mine.nii.gz")
    computed.clear()
    batch(*more)
    assert computed == ["a"]
    mask.write_bytes(b"corrected")
    computed.clear()
    batch(*more, "--force")
    assert computed == ["a", "c"]
    assert mask.read_bytes() != b"corrected"


@pytest.mark.parametrize(
    "report",
    [None, "[]", '{"settings": 3, "inputs', "[" * 100_000, '{"patient": "a"}', '{"mask_sha256": null}'],
)
def test_a_mask_that_no_report_tells_of_is_left_and_the_others_go_on(batch, tmp_path, computed, report):
    mask = tmp_path / "out/a/segmentation.nii.gz"
    mask.parent.mkdir(parents=True)
    mask.write_bytes(b"by hand")
    if report:
        (tmp_path / "out/a/report.json").write_text(report)
    code, _, err = batch()
    assert (code, computed) == (1, ["c"])
    assert mask.read_bytes() == b"by hand"
    there = f"{mask} and {tmp_path / 'out/a/report.json'}" if report else str(mask)
    told = f"{there}: no report of an earlier start tells of this; move it away, or use --force"
    assert f"lesionwise: a: {told}\n" in err
    assert rows(tmp_path / "out/cohort.csv")["a"]["error"] == told
    computed.clear()
    batch("--force")
    assert computed == ["a", "c"]
    assert mask.read_bytes() != b"by hand"


@pytest.mark.parametrize("name", ["probabilities.nii.gz", "report.html", "report.json"])
def test_what_else_others_put_in_the_place_of_an_output_is_left(batch, tmp_path, computed, monkeypatch, name):
    monkeypatch.setattr("lesionwise.pipeline.place_case", lambda *_: None)
    (tmp_path / "out/a").mkdir(parents=True)
    (tmp_path / "out/a" / name).write_text("of others")
    (tmp_path / "out/c").mkdir()
    (tmp_path / "out/c" / name).touch()  # empty: nobody's work
    code, _, err = batch("--probabilities", "--report")
    assert (code, computed) == (1, ["c"])
    assert f"{tmp_path / 'out/a' / name}: no report of an earlier start tells of this" in err
    assert [path.read_text() for path in (tmp_path / "out/a").iterdir()] == ["of others"]


def test_a_mask_that_is_a_link_to_what_was_not_fetched_is_left(batch, tmp_path):
    mask = tmp_path / "out/a/segmentation.nii.gz"
    mask.parent.mkdir(parents=True)
    mask.symlink_to("../.git/annex/objects/key")
    assert f"{mask}: no report of an earlier start tells of this" in batch()[2]
    assert mask.is_symlink()


@pytest.mark.parametrize("way", ["--prefetch", "--no-prefetch"])
def test_a_mask_that_is_corrected_while_its_case_is_computed_is_left(
    batch, tmp_path, computed, monkeypatch, way
):
    batch()
    mask = tmp_path / "out/a/segmentation.nii.gz"

    def predict(*arguments):
        mask.write_bytes(b"corrected")
        return predict_in_memory(*arguments)

    monkeypatch.setattr("lesionwise.pipeline.predict_in_memory", predict)
    code, _, err = batch("--threshold", "0.9", way)
    assert code == 1
    assert mask.read_bytes() == b"corrected"
    (line,) = (line for line in err.splitlines() if line.startswith("lesionwise: a: "))
    assert line.endswith("(corrected by hand?); move it away, or use --force")
    assert rows(tmp_path / "out/cohort.csv")["c"]["state"] == "done"
    batch("--threshold", "0.9", way, "--force")
    assert rows(tmp_path / "out/cohort.csv")["a"]["state"] == "done"


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


def test_a_batch_into_a_folder_that_another_writes_to_is_refused(batch, tmp_path, monkeypatch):
    meanwhile = []

    def finish(case, *arguments):
        if not meanwhile:
            meanwhile.append(batch("--quiet", "--force"))
        return finish_case(case, *arguments)

    monkeypatch.setattr(computer_module, "finish_case", finish)
    _, out, _ = batch()
    ((code, told, err),) = meanwhile
    assert (code, told) == (2, "")
    assert err.splitlines()[-1].startswith(
        f"lesionwise: {tmp_path / 'out'}: another batch writes to this folder"
    )
    assert "2 cases done" in out
    assert not (tmp_path / "out" / LOCK).exists()
    (tmp_path / "out" / LOCK).touch()  # of a start that was killed
    assert "2 kept from before" in batch()[1]


@pytest.mark.parametrize("there", [True, False])
def test_a_link_in_the_place_of_the_lock_is_not_followed(batch, tmp_path, there):
    (tmp_path / "out").mkdir()
    if there:
        (tmp_path / "scores.csv").write_text("patient,score")
    (tmp_path / "out" / LOCK).symlink_to(tmp_path / "scores.csv")
    code, _, err = batch()
    assert (code, err.count("\n")) == (3, 1)
    assert err.startswith(f"lesionwise: {tmp_path / 'out' / LOCK}: this is a link")
    assert (tmp_path / "scores.csv").exists() == there
    assert not there or (tmp_path / "scores.csv").read_text() == "patient,score"


def test_what_is_no_file_in_the_place_of_the_lock_is_refused_and_what_a_file_holds_stays(tmp_path):
    lock = tmp_path / LOCK
    os.mkfifo(lock)
    with pytest.raises(InputError, match="no file"), alone_in(tmp_path):
        pass
    lock.unlink()
    lock.write_text("by somebody")
    with alone_in(tmp_path):
        assert lock.read_text() == "by somebody"


def test_the_lock_of_another_user_is_one_and_one_that_was_left_is_none(tmp_path, monkeypatch):
    def anothers(path, flags, *mode):
        if flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, flags, *mode)

    opened = os.open
    with alone_in(tmp_path), monkeypatch.context() as patch:
        patch.setattr("lesionwise.batch.lock.os.open", anothers)
        with pytest.raises(UsageError, match="another batch writes"), alone_in(tmp_path):
            pass
    monkeypatch.setattr("lesionwise.batch.lock.os.open", anothers)
    with (
        pytest.raises(InputError, match="Permission denied"),
        alone_in(tmp_path),
    ):  # none there, and none can be made
        pass
    (tmp_path / LOCK).touch()
    with alone_in(tmp_path):
        pass


def test_where_there_are_no_locks_a_batch_goes_on(batch, monkeypatch):
    def without_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", without_locks)
    assert "2 cases done" in batch()[1]


def test_temporary_tables_of_a_killed_start_are_removed(batch, tmp_path):
    (tmp_path / "out").mkdir()
    for name in ("cohort.csv", "lesions.csv", "cohort.html"):
        (tmp_path / "out" / f".{name}.0123abcd.part").touch()
    batch()
    assert not list((tmp_path / "out").glob(".*"))


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


def test_weights_that_cannot_be_used_end_the_batch_with_their_code_and_leave_nothing(batch, tmp_path):
    code, _, err = batch("--weights", tmp_path)
    assert code == 5
    assert err.count("\n") <= 2
    assert not (tmp_path / "out").exists()


@pytest.fixture
def dataset(patient, tmp_path):
    """Return a BIDS dataset of one subject with two sessions."""
    for session, name in (("1", TIME1), ("2", TIME2)):
        folder = tmp_path / f"in/sub-x/ses-{session}/anat"
        folder.mkdir(parents=True)
        shutil.copy(patient / name, folder / f"sub-x_ses-{session}_FLAIR.nii.gz")
    return tmp_path / "in"


@pytest.mark.parametrize("there", [None, "notes.txt"])
def test_a_bids_batch_that_cannot_begin_leaves_nothing_and_what_was_there(dataset, tmp_path, capfd, there):
    if there:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / there).touch()
    with pytest.raises(SystemExit) as ended:
        cli.main(["batch", str(dataset), str(tmp_path / "out"), "--weights", str(tmp_path)])
    assert ended.value.code == 5
    left = [path.name for path in tmp_path.glob("out/*")]
    assert left == ([there] if there else [])
    assert (tmp_path / "out").exists() == bool(there)


def test_the_dataset_of_others_is_refused_before_the_network_is_loaded(dataset, tmp_path, capfd, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/dataset_description.json").write_text('{"Name": "Raw scans"}')
    monkeypatch.setattr(Engine, "start", lambda *_: 1 / 0)
    with pytest.raises(SystemExit) as ended:
        cli.main(["batch", str(dataset), str(tmp_path / "out")])
    assert ended.value.code == 2
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["dataset_description.json"]


def test_bids_results_are_a_derivative(dataset, patient, weights, tmp_path, monkeypatch, capfd):
    mask = np.asarray(nib.load(patient / BRAIN_MASK).dataobj) > 0
    monkeypatch.setattr("lesionwise.scan_pair.find_brain", lambda *_: (mask, "learned"))
    arguments = [
        "batch",
        dataset,
        tmp_path / "out",
        "--weights",
        weights,
        "--device",
        "cpu",
        "--quiet",
    ]
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in [*arguments, "--no-denoise", "--no-bias-correction"]])
    assert ended.value.code == 0
    assert capfd.readouterr() == ("", "")
    assert (tmp_path / "out/dataset_description.json").is_file()
    made = tmp_path / "out/sub-x/ses-2/anat/sub-x_ses-2_desc-newLesions_mask.nii.gz"
    assert np.asarray(nib.load(made).dataobj).any()


def test_where_no_brain_is_found_other_layouts_advise_the_case_alone(
    dataset, weights, tmp_path, monkeypatch, capfd
):
    monkeypatch.setattr("lesionwise.scan_pair.find_brain", no_brain)
    with pytest.raises(SystemExit):
        cli.main(
            list(map(str, ["batch", dataset, tmp_path / "out", "--weights", weights, "--device", "cpu"]))
        )
    err = capfd.readouterr().err
    assert "check the scans or segment this case alone with --brain-mask FILE\n" in err


@pytest.mark.parametrize("more", [(), ("--prefetch",)])
def test_a_failing_bids_case_leaves_no_folder(patient, weights, tmp_path, monkeypatch, capfd, more):
    monkeypatch.setattr("lesionwise.scan_pair.find_brain", lambda *_: 1 / 0)
    for subject, session in (("x", "1"), ("x", "2"), ("y", "1"), ("y", "2"), ("y", "3")):
        folder = tmp_path / f"in/sub-{subject}/ses-{session}/anat"
        folder.mkdir(parents=True)
        shutil.copy(patient / TIME1, folder / f"sub-{subject}_ses-{session}_FLAIR.nii.gz")
    damaged = folder / "sub-y_ses-3_FLAIR.nii.gz"
    damaged.write_bytes(damaged.read_bytes()[:2000])
    (tmp_path / "in/sub-x/ses-2/anat/sub-x_ses-2_run-2_FLAIR.nii.gz").touch()  # which of the two is not clear
    shutil.copytree(tmp_path / "in/sub-y/ses-1", tmp_path / "in/sub-z/ses-1")  # nothing to compare with
    arguments = ["batch", tmp_path / "in", tmp_path / "out", "--weights", weights, "--device", "cpu", *more]
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in [*arguments, "--no-denoise", "--no-bias-correction"]])
    assert ended.value.code == 1
    assert "fewer than two sessions: sub-z\n" in capfd.readouterr().err
    assert {row["state"] for row in rows(tmp_path / "out/cohort.csv").values()} == {"failed"}
    assert not [path for path in (tmp_path / "out").iterdir() if path.is_dir()]
