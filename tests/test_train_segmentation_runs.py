"""Runs of stage 2: going on repeats the uninterrupted one, and several processes train as one does."""

import pytest
import torch
import torch.multiprocessing
from small_training import (
    BallSources,
    draw_batches,
    equal,
    log_of,
    options,
    state_of,
    train,
    train_as_one_of_two,
    write_metric_network,
)

from train.run_log import read_log
from train.segmentation import training


@pytest.fixture(scope="module")
def random_metric_network(tmp_path_factory):
    return write_metric_network(tmp_path_factory.mktemp("metric_network"))


def test_batches_drawn_before_are_those_that_the_training_would_draw(tmp_path):
    """The arms of the ablation share them."""
    chosen = {"steps": 3, "validation_patches": 0}
    drawn = draw_batches(options(tmp_path, **chosen))
    assert len(drawn) == 3
    train(options(tmp_path / "given", **chosen), drawn)
    train(options(tmp_path / "own", **chosen))
    assert equal(state_of(tmp_path / "given")["network"], state_of(tmp_path / "own")["network"])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_goes_on_repeats_the_uninterrupted_one_bit_by_bit(
    tmp_path, workers, random_metric_network
):
    chosen = {
        "workers": workers,
        "iqda": True,
        "turns": True,
        "lesion_loss": "metric-network",
        "metric_network": random_metric_network,
        "refresh_metric": 1,
        "refresh_patches": 4,
        "refresh_steps": 2,
        "epoch_steps": 2,
    }
    train(options(tmp_path / "whole", steps=5, **chosen))
    train(options(tmp_path / "parts", steps=3, **chosen))
    train(options(tmp_path / "parts", steps=5, **chosen))
    whole, parts = (state_of(tmp_path / name) for name in ("whole", "parts"))
    assert equal({**whole, "seconds": 0}, {**parts, "seconds": 0})
    assert log_of(tmp_path / "whole") == log_of(tmp_path / "parts")


def test_what_was_logged_beyond_the_checkpoint_is_dropped(tmp_path):
    train(options(tmp_path, steps=2, validation_patches=0))
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 7, "dice_loss": 0.5}\n')
    train(options(tmp_path, steps=3, validation_patches=0))
    assert [line["step"] for line in log_of(tmp_path)] == [1, 2, 3]
    timed = [line for line in read_log(tmp_path) if "seconds_per_step" in line]
    assert all(line["patches_per_second"] * line["seconds_per_step"] == pytest.approx(2) for line in timed)


@pytest.mark.parametrize("lesion_loss", ["metric-network", "blob"])
def test_two_processes_follow_the_curve_of_one_with_the_summed_batch(
    tmp_path, lesion_loss, random_metric_network
):
    chosen = {
        "batch": 4,
        "shards": 2,
        "dropout": 0.0,
        "cross_entropy": 0.5,
        "lesion_loss": lesion_loss,
        "metric_network": random_metric_network if lesion_loss == "metric-network" else None,
        "balance_gradients": True,
        "precision": "fp32",  # bfloat16, which "auto" takes on some processors, rounds coarser than the tolerance
        "rate": 1e-4,  # slow enough that the weight, a quotient of two gradient norms, stays well-conditioned
        "steps": 4,
        "seed": 3,  # of which no voxel lies so near to the threshold that the order of a sum moves it across
    }
    train(options(tmp_path / "one", **chosen))
    arguments = (tmp_path / "meeting", options(tmp_path / "two", **chosen))
    torch.multiprocessing.spawn(train_as_one_of_two, arguments, nprocs=2)
    one, two = log_of(tmp_path / "one"), log_of(tmp_path / "two")
    assert len(one) == len(two) > 4
    for line1, line2 in zip(one, two, strict=True):
        assert line1 == pytest.approx(line2, rel=2e-4, abs=1e-6)


def test_waiting_batches_of_several_shards_count_whole(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        training, "make_loader", lambda _stream, settings, *_: seen.append(settings.batch) or []
    )
    chosen = options(tmp_path, batch=6)
    for shards in (range(1), range(3)):
        training._loader(chosen, BallSources(), training.patch_settings(chosen, len(shards)), shards, 0, True)
    assert seen == [6, 6]
