"""The loop of both stages by itself, on a network of one weight."""

from itertools import repeat

import pytest
import torch

from train.loop import Averaged, Run, read_log


def run_of(folder, steps):
    network = torch.nn.Linear(1, 1)
    return Run(folder, network, torch.optim.Adam(network.parameters()), Averaged(0.9), 1.0, steps)


def train(run, **settings):
    """Train with a loss that is logged as 1."""
    run.train(
        repeat((torch.ones(2, 1),)),
        lambda batch: (run.network(batch[0]).square().sum(), {"loss": 1.0}),
        lambda _progress: 1e-3,
        **settings,
    )


def test_the_first_line_after_a_stop_is_the_mean_of_what_was_summed(tmp_path):
    train(run_of(tmp_path, 7), log_steps=4)
    again = run_of(tmp_path, 12)
    again.resume()
    train(again, log_steps=4)
    lines = read_log(tmp_path)
    assert [line["step"] for line in lines] == [4, 8, 12]
    assert [line["loss"] for line in lines] == [1.0, 1.0, 1.0]
    assert all(line["seconds_per_step"] * line["patches_per_second"] == pytest.approx(2) for line in lines)
