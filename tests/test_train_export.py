"""From a checkpoint to weights with scores and a card: two commands, and nothing to edit by hand."""

import json

import pytest
import torch
from click.testing import CliRunner

from lesionwise.errors import InputError
from lesionwise.network import UNet
from lesionwise.weights import REPOSITORY_FOLDER, load_weights
from train import calibrate, validate
from train.export import main as export
from train.held_out import HeldOut
from train.model_card import CARD, with_facts
from train.stated_scores import record, with_mean

SOURCE = {"name": "A head", "licence": "CC0", "cite": ["Someone 2020"]}
FACTS = {"training_data": [SOURCE], "training": {"command": "train it", "minutes": 5}, "commit": "abc"}
ROW = {"F1_score": 0.5, "Dice": 0.25, "SensL": 1.0, "PPVL": 0.3333}


@pytest.fixture
def run(tmp_path):
    """Return a folder with a checkpoint, facts and, in `weights`, the repository's model card."""
    torch.save(
        {"averaged": UNet(width=8).state_dict(), "step": 7},
        tmp_path / "checkpoint.pt",
    )
    (tmp_path / "facts.json").write_text(json.dumps({**FACTS, "sha256": "an older one's", "validation": 1}))
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / CARD).write_text((REPOSITORY_FOLDER / CARD).read_text())
    return tmp_path


def exported(run, width=8):
    files = (run / "checkpoint.pt", "--facts", run / "facts.json", "--output", run / "weights")
    return CliRunner().invoke(
        export, [*map(str, files), "--width", str(width), "--threshold", "0.4", "--certainty", "0.9"]
    )


def test_export_then_record_fills_manifest_and_card(run):
    assert exported(run).exit_code == 0
    manifest = load_weights(run / "weights").manifest
    assert {key: manifest[key] for key in FACTS} == FACTS
    assert manifest["validation"] == {}
    card = (run / "weights" / CARD).read_text()
    for text in (
        "lesion above 0.4; the mean log odds of a lesion's voxels must exceed those of 0.9.",
        "| A head (Someone 2020) | CC0 |",
        "train it",
        "Not measured yet",
        "| commit | abc |",
    ):
        assert text in card
    scores = with_mean({"p1": ROW, "p2": {**ROW, "Dice": 0.75}})
    record(run / "weights", {"reference": "truth.nii", "window": 64, "precision": "fp32", "scores": scores})
    assert load_weights(run / "weights").manifest["validation"]["scores"]["mean"]["Dice"] == 0.5
    card = (run / "weights" / CARD).read_text()
    assert (
        "| p1 | 0.500 | 0.250 | 1.000 | 0.333 |\n| p2 | 0.500 | 0.750 | 1.000 | 0.333 |\n| mean | 0.500 | 0.500"
        in card
    )
    assert "train.validate PAIRS/p1 PAIRS/p2 --truth truth.nii --window 64 --precision fp32 --record" in card


def test_a_checkpoint_of_a_gpu_is_exported_without_one(run, monkeypatch):
    load, places = torch.load, []
    monkeypatch.setattr(
        torch, "load", lambda *a, map_location=None, **k: places.append(map_location) or load(*a, **k)
    )
    assert exported(run).exit_code == 0
    assert set(places) == {"cpu"}


def with_changed(**facts):
    return json.dumps({**FACTS, **facts})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "no JSON object with facts"),
        ("[]", "training_data (a list of objects with name and licence)"),
        ('{"commit": "abc"}', "training_data (a list"),
        (with_changed(training_data="one head, CC0"), "training_data (a list"),
        (with_changed(training_data=[{"name": "A head"}]), "training_data (a list"),
        (with_changed(training_data=[{**SOURCE, "cite": "Someone 2020"}]), "training_data (a list"),
        (with_changed(training="train it"), "training (an object with command)"),
    ],
)
def test_wrong_facts_are_refused_in_one_line_and_nothing_is_written(run, content, words):
    (run / "facts.json").write_text(content)
    result = exported(run)
    assert result.exit_code == InputError.exit_code
    assert result.output.count("\n") == 1
    assert words in result.output
    assert not (run / "weights" / "manifest.json").exists()


def test_a_manifest_whose_facts_the_card_cannot_show_is_neither_calibrated_nor_measured(run):
    assert exported(run).exit_code == 0
    manifest = run / "weights" / "manifest.json"
    edited = {**json.loads(manifest.read_text()), "training": "train it"}
    manifest.write_text(json.dumps(edited))
    (run / "scores.json").touch()
    calls = (
        (calibrate.main, run / "scores.json", "--manifest", manifest),
        (validate.main, run, "--weights", run / "weights", "--record"),
    )
    for command, *arguments in calls:
        result = CliRunner().invoke(command, [*map(str, arguments)])
        assert result.exit_code == InputError.exit_code
        assert "manifest.json: the facts in it need" in result.output
    assert json.loads(manifest.read_text()) == edited


def test_a_card_without_its_marks_is_refused():
    with pytest.raises(InputError, match="network"):
        with_facts("# A card\n", {})


def test_a_narrower_network_is_grown_to_the_published_width_and_computes_the_same(run):
    narrow = UNet(width=8, dropout=0.0).eval()
    torch.save({"averaged": narrow.state_dict(), "step": 7}, run / "checkpoint.pt")
    assert exported(run, width=16).exit_code == 0
    pair = torch.randn(1, 2, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    wide = load_weights(run / "weights").network.eval()
    with torch.inference_mode():
        torch.testing.assert_close(wide(pair), narrow(pair), atol=2e-2, rtol=2e-2)  # stored in float16


def test_of_several_runs_the_mean_is_stored_with_whom_each_has_learned(run):
    parts = [UNet(width=8, dropout=0.0) for _ in range(2)]
    for number, part in enumerate(parts):
        held_out = HeldOut(("p0", f"p{number + 5}"), (f"p{number + 1}",)).stated()
        torch.save({"averaged": part.state_dict(), **held_out}, run / f"{number}.pt")
    files = (run / "0.pt", run / "1.pt", "--facts", run / "facts.json", "--output", run / "weights")
    assert CliRunner().invoke(export, [*map(str, files), "--width", "8"]).exit_code == 0
    stored = load_weights(run / "weights")
    first, second, mean = (n.state_dict()["head.bias"] for n in (*parts, stored.network))
    torch.testing.assert_close(mean, (first + second) / 2, atol=1e-4, rtol=1e-3)  # stored in float16
    assert HeldOut.stated_in(stored.manifest) == HeldOut(("p0",), ("p1", "p2"))


@pytest.mark.parametrize(
    ("option", "value"),
    [("--threshold", "1"), ("--threshold", "0"), ("--threshold", "nan"), ("--certainty", "1")],
)
def test_an_operating_point_that_the_program_would_refuse_is_not_written(run, option, value):
    assert exported(run).exit_code == 0
    before = (run / "weights" / "manifest.json").read_bytes()
    files = (run / "checkpoint.pt", "--facts", run / "facts.json", "--output", run / "weights")
    result = CliRunner().invoke(export, [*map(str, files), "--width", "8", option, value])
    assert result.exit_code == 2
    assert (run / "weights" / "manifest.json").read_bytes() == before


def test_what_is_no_checkpoint_is_refused_in_one_line(run):
    (run / "checkpoint.pt").write_bytes(b"none")
    result = exported(run)
    assert result.exit_code == InputError.exit_code
    assert "no segmentation network" in result.output
    assert result.output.count("\n") == 1
