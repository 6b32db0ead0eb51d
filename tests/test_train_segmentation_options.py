"""Options and networks to start from that stage 2 refuses, in a line, before it makes a folder."""

import pytest
import torch
from click.testing import CliRunner
from small_training import PATCH, options, train

from lesionwise.errors import InputError, UsageError
from train.metric_network.files import save_metric_network
from train.metric_network.network import MetricNetwork
from train.segmentation.__main__ import main


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"lesion_loss": "metric-network"}, "--metric-network"),
        ({"batch": 3, "shards": 2}, "does not divide"),
        ({"around_new": 0.9, "around_old": 0.2}, "--around-new 0.9 and --around-old 0.2 are more than all"),
        ({"batch": 9, "pairs_in_block": 2, "patches_per_pair": 4}, "more than the 8 patches"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(tmp_path, changes, word):
    with pytest.raises(UsageError, match=word):
        train(options(tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


def test_a_metric_network_of_another_definition_is_refused(tmp_path):
    network = MetricNetwork("compact", PATCH, width=5, definition="intersection")
    save_metric_network(tmp_path, network, network.state_dict(), step=1)
    with pytest.raises(UsageError, match="intersection, not organisers"):
        train(options(tmp_path / "run", lesion_loss="metric-network", metric_network=tmp_path))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", [b"", b"none", None])
def test_a_start_that_is_no_network_is_refused(tmp_path, content):
    if content is None:
        torch.save({"network": {"encoder1.0.weight": torch.zeros(7, 1)}}, tmp_path / "start.pt")
    else:
        (tmp_path / "start.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"start\.pt.*no segmentation network"):
        train(options(tmp_path / "run", initial=tmp_path / "start.pt"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "needs"),
    [
        (["--metric-network", "."], "--lesion-loss metric-network"),
        (["--refresh-metric", "1"], "--lesion-loss metric-network"),
        (["--lesion-loss", "blob", "--refresh-metric", "1"], "--lesion-loss metric-network"),
        (["--balance-gradients"], "a --lesion-loss"),
        (["--alpha", "0.5"], "a --lesion-loss"),
        (["--refresh-patches", "9"], "--refresh-metric"),
        (["--refresh-steps", "9"], "--refresh-metric"),
        (["--synthetic-share", "0.5"], "--data"),
        (["--fold", "1"], "--data"),
        (["--cache", "cache"], "--data"),
    ],
)
def test_an_option_without_effect_is_refused(tmp_path, arguments, needs):
    told = CliRunner().invoke(main, ["--output", str(tmp_path / "run"), *arguments])
    assert told.exit_code == UsageError.exit_code
    assert f"add {needs}, or leave it out" in told.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--minutes", "0"],
        ["--minutes", "nan"],
        ["--batch", "0"],
        ["--steps", "0"],
        ["--width", "7"],
        ["--width", "0"],
        ["--seed", "-1"],
        ["--patch", "30"],
        ["--dropout", "1"],
        ["--workers", "-1"],
        ["--data", "/nonexistent", "--cache", "cache"],
    ],
)
def test_impossible_values_are_refused_without_a_traceback(tmp_path, arguments):
    told = CliRunner().invoke(main, ["--output", str(tmp_path / "run"), *arguments])
    assert told.exit_code in (UsageError.exit_code, InputError.exit_code)
    assert isinstance(told.exception, SystemExit)
    assert arguments[0] in told.output or "/nonexistent: there is no such folder" in told.output
    assert not (tmp_path / "run").exists()
