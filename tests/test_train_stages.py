"""Both stages from the first command to the last, as `make train` runs them, with the smoke recipe on balls."""

from pathlib import Path
from unittest import mock

import pytest
from click.testing import CliRunner
from small_training import BallSources

from train.metric_network import record_outputs
from train.metric_network.__main__ import main as metric_network
from train.metric_network.files import load_metric_network
from train.metric_network.network_outputs import NetworkOutputs
from train.run_log import read_log
from train.segmentation import training
from train.segmentation.__main__ import main as segmentation

RECIPE = Path(__file__).parents[1] / "train" / "recipes" / "smoke.toml"


def run(command, *arguments, table=""):
    recipe = f"{RECIPE}:{table}" if table else str(RECIPE)
    with (
        mock.patch.object(training, "open_sources", return_value=BallSources()),
        mock.patch.object(record_outputs, "open_sources", return_value=BallSources()),
    ):
        result = CliRunner().invoke(
            command, ["--recipe", recipe, *map(str, arguments)], catch_exceptions=False
        )
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.slow
def test_both_stages_run_to_the_end(tmp_path):
    warm_up, outputs, stage1, stage2 = (
        tmp_path / name for name in ("warm-up", "outputs.npz", "stage1", "stage2")
    )
    run(segmentation, "--output", warm_up, table="warm-up")
    assert [file.name for file in (warm_up / "stages").iterdir()] == ["epoch-00001.pt"]

    printed = run(record_outputs.main, "--run", warm_up, "--output", outputs)
    assert printed.count("mean F1") == 2  # a stage and the checkpoint
    recorded = NetworkOutputs.load(outputs, 24, "organisers")
    assert [len(recorded.part(is_held_out).f1) for is_held_out in (False, True)] == [6, 2]

    printed = run(metric_network, "--network-outputs", outputs, "--output", stage1)
    assert "| Pearson |" in printed
    assert (stage1 / "report" / "calibration.png").is_file()
    network, steps = load_metric_network(stage1)
    assert (steps, network.settings["patch"]) == (20, 24)

    run(segmentation, "--metric-network", stage1, "--output", stage2)
    last = read_log(stage2)[-1]
    assert last["step"] == 4
    assert {"validation/f1", "validation/gap", "refresh/absolute_error"} <= last.keys()
