"""The loop of both stages by itself, with its learning rate and its average, on a network of one weight."""

import os
import signal
import subprocess
import sys
import time
from itertools import repeat
from pathlib import Path

import pytest
import torch

from lesionwise.errors import DeviceError, InputError, LesionwiseError
from train import distributed
from train.loop import CHECKPOINT, Averaged, Run, learning_rate
from train.run_log import read_log


def run_of(folder, steps, device="cpu"):
    torch.manual_seed(1)
    network = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Dropout()).to(device)
    return Run(folder, network, torch.optim.Adam(network.parameters()), Averaged(0.9), 1.0, steps)


def train(run, **settings):
    """Train with a loss that is logged as 1."""
    run.train(
        repeat((torch.ones(2, 1, device=next(run.network.parameters()).device),)),
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


def test_what_an_epoch_and_saving_take_counts_as_no_step(tmp_path):
    def slow(_epoch):
        time.sleep(0.5)
        return {"measured": 1.0}

    train(run_of(tmp_path, 4), log_steps=2, epoch_steps=2, on_epoch=slow)
    speeds = [line["seconds_per_step"] for line in read_log(tmp_path) if "seconds_per_step" in line]
    assert len(speeds) == 2
    assert max(speeds) < 0.2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_run_on_a_gpu_goes_on_with_the_dropout_that_it_would_have_had(tmp_path):
    for folder, parts in (("whole", [6]), ("parts", [3, 6])):
        (tmp_path / folder).mkdir()
        for steps in parts:
            run = run_of(tmp_path / folder, steps, "cuda")
            run.resume()
            train(run)
    whole, parts = (
        torch.load(tmp_path / name / CHECKPOINT, weights_only=True) for name in ("whole", "parts")
    )
    for name in ("network", "averaged"):
        assert all(torch.equal(value, parts[name][key]) for key, value in whole[name].items())


def test_a_checkpoint_is_read_where_there_is_no_gpu(tmp_path, monkeypatch):
    train(run_of(tmp_path, 1))
    load, places = torch.load, []
    monkeypatch.setattr(
        torch, "load", lambda *a, map_location=None, **k: places.append(map_location) or load(*a, **k)
    )
    run_of(tmp_path, 1).resume()
    assert places == ["cpu"]


def test_each_process_takes_its_own_gpu(monkeypatch):
    taken = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setattr(distributed, "choose_device", lambda asked, _note: torch.device(asked))
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert distributed.start("cuda") == torch.device("cuda", 1)
    assert distributed.start("cpu") == torch.device("cpu")
    assert taken == [1]


def test_a_gpu_that_is_not_there_is_told_in_a_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="no GPU was found"):
        distributed.start("cuda")


def test_processes_stop_when_the_first_is_asked_to_and_not_by_themselves(tmp_path, monkeypatch):
    asked = iter([0.0, 0.0, 1.0])
    monkeypatch.setattr(distributed, "agreed", lambda value: next(asked) if isinstance(value, int) else value)
    run = run_of(tmp_path, 9)
    with pytest.raises(SystemExit):
        train(run)
    assert run.step == 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_that_is_asked_to_end_keeps_its_state_and_ends_the_program(tmp_path, number, code):
    run = run_of(tmp_path, 9)
    before = signal.signal(number, lambda *_: None)

    def asked(_epoch):
        if run.step:
            os.kill(os.getpid(), number)
        return {}

    try:
        with pytest.raises(SystemExit) as ended:
            train(run, epoch_steps=3, on_epoch=asked)
        assert signal.getsignal(number).__module__ == __name__
    finally:
        signal.signal(number, before)
    assert ended.value.code == code  # what would be made of the result is not made of half of it
    again = run_of(tmp_path, 9)
    assert again.resume()
    assert again.step == 3
    train(again)
    assert again.step == 9


ENDLESS = """
import signal, sys
from pathlib import Path
from small_training import options, train
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have its background jobs ignore it
train(options(Path(sys.argv[1]), steps=10**6, workers=1, validation_patches=0))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_to_the_run_and_its_loader_processes_loses_nothing(tmp_path, number, code):
    """As Ctrl-C in a terminal, timeout and schedulers send it: to the whole group of processes."""
    folder = Path(__file__).parent
    path = os.pathsep.join(map(str, (folder, folder.parent, folder.parent / "app")))
    process = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        printed = [line for line, _ in zip(process.stdout, range(3), strict=False)]
        assert all(line.startswith("step") for line in printed), printed
        os.killpg(process.pid, number)
        rest = process.communicate(timeout=60)[0]
    finally:
        process.kill()
    assert process.returncode == code, rest
    assert "Error" not in rest
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["step"] >= 3


def test_a_run_that_is_complete_is_not_saved_again(tmp_path):
    """What `make` made of its checkpoint stays newer than it."""
    train(run_of(tmp_path, 2))
    before = (tmp_path / CHECKPOINT).stat().st_mtime_ns
    again = run_of(tmp_path, 2)
    again.resume()
    train(again)
    assert (tmp_path / CHECKPOINT).stat().st_mtime_ns == before


def test_a_checkpoint_of_another_network_is_refused_in_a_line(tmp_path):
    train(run_of(tmp_path, 1))
    wide = torch.nn.Linear(2, 1)
    run = Run(tmp_path, wide, torch.optim.Adam(wide.parameters()), Averaged(0.9), 1.0, 9)
    with pytest.raises(InputError, match=r"checkpoint\.pt: the run there trains another network"):
        run.resume()


@pytest.mark.parametrize("content", [b"", b"none", b"half", None])
def test_a_torn_checkpoint_is_refused_in_a_line(tmp_path, content):
    train(run_of(tmp_path, 1))
    file = tmp_path / CHECKPOINT
    if content is None:
        torch.save({"network": run_of(tmp_path, 1).network.state_dict()}, file)  # nothing else
    else:
        file.write_bytes(file.read_bytes()[:2000] if content == b"half" else content)
    with pytest.raises(InputError, match=r"checkpoint\.pt: this holds no state of a run.*torn") as error:
        run_of(tmp_path, 9).resume()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("torn", ['{"step": 2, "lo', "\0\0\0", '{"seconds": 1}', "é"])
def test_a_run_goes_on_after_a_log_that_ends_in_half_a_line(tmp_path, torn):
    train(run_of(tmp_path, 1), log_steps=1)
    with (tmp_path / "log.jsonl").open("ab") as file:
        file.write(torn.encode("latin-1"))
    again = run_of(tmp_path, 2)
    again.resume()
    train(again, log_steps=1)
    assert [line["step"] for line in read_log(tmp_path)] == [1, 2]
    (tmp_path / "log.jsonl").write_text(f'{torn}\n{{"step": 2}}\n')
    with pytest.raises(InputError, match=r"log\.jsonl: line 1 is none of a log"):
        read_log(tmp_path)


def test_a_loss_that_is_no_number_ends_in_a_line(tmp_path):
    run = run_of(tmp_path, 3)
    with pytest.raises(LesionwiseError, match="the loss is nan at step 0; lower the learning rate"):
        run.train(
            repeat((torch.ones(2, 1),)),
            lambda batch: (run.network(batch[0]).sum() * torch.nan, {}),
            lambda _progress: 1e-3,
        )


def test_each_process_drops_out_otherwise_and_the_first_as_if_alone(monkeypatch):
    drawn = []
    for rank in (0, 1, 2):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        torch.manual_seed(1)
        distributed.seed_apart(1)
        drawn.append(float(torch.rand(1)))
    torch.manual_seed(1)
    assert drawn[0] == float(torch.rand(1))
    assert len(set(drawn)) == 3


def test_learning_rate_by_hand():
    assert learning_rate(1e-3, "constant", 0.7, 5) == 1e-3
    assert learning_rate(1e-3, "cosine", 0.0, 49) == pytest.approx(0.5e-3)
    assert learning_rate(1e-3, "cosine", 0.5, 1000) == pytest.approx(1e-3 * (0.02 + 0.98 / 2))
    assert learning_rate(1e-3, "cosine", 1.0, 1000) == pytest.approx(2e-5)


def test_the_average_follows_quickly_at_first():
    network, averaged = torch.nn.Linear(1, 1, bias=False), Averaged(0.999)
    for step, value in enumerate([0.0, 1.0]):
        torch.nn.init.constant_(network.weight, value)
        averaged.update(network, step)
    assert float(averaged.parameters["weight"]) == pytest.approx(1 - 2 / 11)


def test_the_average_follows_by_its_decay_later_on():
    network, averaged = torch.nn.Linear(1, 1, bias=False), Averaged(0.5)
    for step, value in enumerate([0.0, 1.0, 1.0], start=1000):  # half of the way each time: 0, 1/2, 3/4
        torch.nn.init.constant_(network.weight, value)
        averaged.update(network, step)
    assert float(averaged.parameters["weight"]) == 0.75
