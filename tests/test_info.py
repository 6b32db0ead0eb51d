"""`lesionwise info` says what would compute and why, also where something is missing; and the shell completes."""

import json
import os
import subprocess
import sys

import pytest
import torch
from closed_folder import close
from made_groups import made_groups
from small_case import GROUPS, WIDTH, difference_network, write_weights

from lesionwise import __version__, cli, devices, memory, system_info
from lesionwise.control_groups import own_groups
from lesionwise.lesions import OperatingPoint
from lesionwise.system_info import device_lines, memory_lines, weights_lines
from lesionwise.weights import save_weights


def run(capfd, *arguments):
    with pytest.raises(SystemExit) as ended:
        cli.main(list(map(str, arguments)))
    return ended.value.code, *capfd.readouterr()


def test_it_tells_versions_device_weights_and_memory(capfd, tmp_path):
    code, out, err = run(
        capfd, "info", "--weights", write_weights(tmp_path), "--device", "cpu", "--threads", "1"
    )
    assert (code, err) == (0, "")
    titles = [line.split()[0] for line in out.splitlines() if not line.startswith(" ")]
    assert titles == ["lesionwise", "device", "weights", "memory"]
    assert __version__ in out
    assert f"torch {torch.__version__}" in out
    assert "--device cpu was asked for" in out
    assert str(tmp_path) in out


def test_without_weights_it_tells_the_rest_and_ends_as_segment_would(capfd, tmp_path):
    code, out, err = run(capfd, "info", "--weights", tmp_path, "--device", "cpu")
    assert code == 5
    assert "cannot be used, see below" in out
    assert "GB" in out
    assert err.startswith(f"lesionwise: {tmp_path}: this folder has no manifest.json")


def test_weights_that_may_not_be_looked_into_keep_the_rest_from_nobody(capfd, monkeypatch, tmp_path):
    close(monkeypatch, tmp_path)
    code, out, err = run(capfd, "info", "--weights", tmp_path, "--device", "cpu")
    assert (code, "cannot be used, see below" in out, "GB" in out) == (5, True, True)
    assert err.startswith(f"lesionwise: {tmp_path}: cannot be looked into (Permission denied)")


def test_what_a_manifest_says_does_nothing_on_a_screen(capfd, tmp_path):
    nested = json.loads("[" * 400 + "]" * 400)
    facts = {
        "training_data": ["a\x1b[31m", {"name": "b\nc", "licence": "\ud800"}, nested, {"name": nested}],
        "validation": {"d\r": "e\x07", "more": nested, "scores": {"f\x1b": {"g": nested}}},
    }
    save_weights(tmp_path, difference_network(), WIDTH, GROUPS, OperatingPoint(0.5), facts)
    code, out, _ = run(capfd, "info", "--weights", tmp_path, "--device", "cpu")
    assert code == 0
    for line in ("a\\x1b[31m\n", "b\\nc (\\ud800)\n", "name not told (licence not told)\n", "d\\r e\\x07\n"):
        assert line in out
    assert not {"\x1b", "\r", "\x07"} & set(out)


def test_the_model_card_in_short(tmp_path):
    folder = write_weights(tmp_path)
    lines = weights_lines(folder)
    assert lines[0] == str(folder)
    assert "trained on: not told" in lines
    assert lines[-1] == "validation: no scores in the manifest; see the model card"
    (folder / "README.md").touch()
    assert weights_lines(folder)[-1] == f"model card: {folder / 'README.md'}"


@pytest.mark.parametrize("validation", ["five folds", {"scores": [0.5]}, {"scores": {"mean": 0.5}}])
def test_manifests_that_tell_of_training_and_scores_in_another_form(tmp_path, validation):
    facts = {"training_data": ["MSSEG-2", {"licence": "CC-BY"}], "validation": validation}
    save_weights(tmp_path, difference_network(), WIDTH, GROUPS, OperatingPoint(0.5), facts)
    lines = weights_lines(tmp_path)
    assert "trained on: MSSEG-2" in lines
    assert "trained on: name not told (CC-BY)" in lines
    assert lines[-1] == "validation: no scores in the manifest; see the model card"


def test_training_data_and_scores_of_the_manifest(tmp_path):
    facts = {
        "training_data": [{"name": "heads", "licence": "CC-BY"}, {"name": "more"}],
        "validation": {
            "precision": "fp32",
            "window": None,
            "scores": {"patient01": {"f1_score": 0.51234, "cases": 2}, "mean": {"f1_score": 0.5}},
        },
    }
    save_weights(tmp_path, difference_network(), WIDTH, GROUPS, OperatingPoint(0.5), facts)
    lines = weights_lines(tmp_path)
    assert "trained on: heads (CC-BY)" in lines
    assert "trained on: more (licence not told)" in lines
    at = lines.index("validation: precision fp32")
    assert lines[at + 1 :] == [
        "             f1_score  cases",
        "  patient01      0.51      2",
        "  mean           0.50      -",
    ]


@pytest.mark.parametrize(
    ("trouble", "native", "line", "reasons"),
    [
        ("no GPU was found", True, "bfloat16", ["no GPU was found", "multiplies bfloat16 itself"]),
        ("the GPU computes wrong numbers", False, "float32", ["wrong numbers", "would emulate bfloat16"]),
    ],
)
def test_the_device_and_why(monkeypatch, trouble, native, line, reasons):
    monkeypatch.setattr(devices, "_gpu_trouble", lambda: trouble)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": native})
    told = device_lines("auto", "auto", 1)
    assert told[0] == f"CPU, 1 thread(s), {line}"
    assert all(any(reason in one for one in told[1:]) for reason in reasons)
    assert "--precision fp32 was asked for" in device_lines("auto", "fp32", 1)


def test_memory_that_is_free_in_a_container_and_that_is_not_known(monkeypatch, tmp_path):
    limit = {"memory.max": "2000000000", "memory.current": "500000000"}
    groups = made_groups(tmp_path, "0::/", limit)
    monkeypatch.setattr(memory, "own_groups", lambda controller: own_groups(controller, *groups))
    assert memory_lines()[1].startswith("1.5 GB are free")
    monkeypatch.setattr(system_info, "free_bytes", lambda _: float("inf"))
    assert memory_lines()[1] == "how much is free is not known here"


@pytest.mark.parametrize(
    ("words", "completed"), [("lesionwise ba", "batch"), ("lesionwise batch --pre", "--prefetch")]
)
def test_the_shell_completes_commands_and_options(words, completed):
    asked = {
        "_LESIONWISE_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    done = subprocess.run(
        [sys.executable, "-m", "lesionwise.cli"],
        env=os.environ | asked,
        capture_output=True,
        text=True,
        check=True,
    )
    assert completed in done.stdout
