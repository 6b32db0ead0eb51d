"""What a batch did not write is left: masks corrected by hand, and files of others in the places of outputs."""

import pytest
from written_tables import rows

from lesionwise.inference import predict_in_memory


@pytest.mark.parametrize("name", ["cohort.csv", "lesions.csv", "cohort.html"])
def test_a_table_that_no_batch_wrote_is_not_replaced(batch, tmp_path, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("case,age\na,34\n")
    code, _, err = batch()
    assert code == 2
    assert err.startswith(f"lesionwise: {tmp_path / 'out' / name}: no earlier batch wrote this file")
    assert err.count("\n") == 1
    assert [path.read_text() for path in (tmp_path / "out").iterdir()] == ["case,age\na,34\n"]


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
