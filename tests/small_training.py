"""Trainings of seconds: patches of balls instead of heads, and runs in processes of their own."""

import os
from dataclasses import replace
from functools import partial
from unittest import mock

import numpy as np
import torch
from torch import distributed

from lesionwise.challenge_layout import GROUND_TRUTH, TIME1, TIME2
from lesionwise.simulation.timepoints import SyntheticPair
from train.loop import CHECKPOINT
from train.metric_network.files import save_metric_network
from train.metric_network.network import MetricNetwork
from train.patches import SyntheticPatches
from train.run_log import read_log
from train.segmentation import training
from train.segmentation.options import Options
from train.sources import Sources

PATCH = 24
TIMES = ("seconds", "seconds_per_step", "patches_per_second", "waiting_share")


def six_patients(folder):
    """Return a folder of patients 0 to 5, whose files are empty: of fold 1, patient 1 is held out."""
    for number in range(6):
        patient = folder / "data" / f"patient{number}"
        patient.mkdir(parents=True)
        for name in (TIME1, TIME2, GROUND_TRUTH):
            (patient / name).touch()
    return folder / "data"


class BallPatches(SyntheticPatches):
    """Patches of noise with bright balls, some of them at time 2 only: the truth."""

    def _pair(self, rng):
        shape = (32, 32, 32)
        images = 1 + 0.05 * rng.standard_normal((2, *shape)).astype(np.float32)
        masks = np.zeros((2, *shape), dtype=bool)
        voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
        for number in range(6):
            ball = np.linalg.norm(voxels - rng.uniform(4, 28, 3), axis=-1) < rng.uniform(1.5, 3)
            masks[number % 2] |= ball
            images[1][ball] += 0.5
            images[0][ball] += 0.5 * (number % 2)
        new = masks[0] & ~masks[1]
        return SyntheticPair(images[0], images[1], np.ones(shape, dtype=bool), new, masks[1])


class BallSources(Sources):
    def stream(self, settings, seed, batches_done=0):
        return BallPatches(settings, seed, batches_done=batches_done)


def options(output, **changes):
    """Return the options of a training of a second."""
    small = Options(
        output,
        patch=PATCH,
        batch=2,
        width=8,
        dropout=0.5,
        rate=1e-3,
        pairs_in_block=1,
        patches_per_pair=6,
        steps=4,
        log_steps=1,
        epoch_steps=2,
        validation_patches=4,
        workers=0,
        threads=1,
    )
    return replace(small, **changes)


def train(chosen, drawn=None):
    """Train on balls and return the run."""
    with mock.patch.object(training, "open_sources", return_value=BallSources()):
        return training.train(chosen, drawn)


def draw_batches(chosen):
    """Return the batches of balls of all steps of a training."""
    with mock.patch.object(training, "open_sources", return_value=BallSources()):
        return training.draw_batches(chosen)


def train_as_one_of_two(rank, meeting, chosen):
    """Train as one of two processes that talk by gloo, as torchrun would start them, but for where they meet.

    That is a file, `meeting`, which nobody else can take: a port found free may no longer be so when it is opened.
    """
    os.environ |= {"WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank)}
    meet = partial(distributed.init_process_group, init_method=meeting.as_uri(), rank=rank, world_size=2)
    with mock.patch.object(distributed, "init_process_group", meet):
        train(chosen)


def write_metric_network(folder):
    """Write a metric network that was never trained and return the folder."""
    torch.manual_seed(5)
    network = MetricNetwork("compact", PATCH, width=5)
    save_metric_network(folder, network, network.state_dict(), step=0)
    return folder


def log_of(folder):
    """Return the lines of a run's log without the times."""
    return [{k: v for k, v in line.items() if k not in TIMES} for line in read_log(folder)]


def state_of(folder):
    return torch.load(folder / CHECKPOINT, weights_only=True)


def equal(one, other):
    """Tell whether two states are the same bit by bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
