"""Stage 2 as a whole, in trainings of seconds: what F may and may not do, resuming, several processes."""

import pytest
import torch
import torch.multiprocessing
from click.testing import CliRunner
from small_training import (
    PATCH,
    BallSources,
    draw_batches,
    options,
    six_patients,
    train,
    train_as_one_of_two,
)

from lesionwise.errors import InputError, UsageError, WeightsError
from lesionwise.lesions import OperatingPoint
from lesionwise.network import GROUPS, UNet
from lesionwise.weights import save_weights
from train.loop import CHECKPOINT, Averaged, learning_rate
from train.metric_network.files import held_out_of as metric_held_out_of
from train.metric_network.files import save_metric_network
from train.metric_network.network import MetricNetwork
from train.run_log import read_log
from train.segmentation import refresh, training
from train.segmentation.__main__ import main
from train.segmentation.best import BEST, Best
from train.segmentation.metric_loss import MetricLoss
from train.segmentation.stages import held_out_of, is_stage, load_network, save_stage
from train.segmentation.validation import Validation
from train.sources import NO_PATIENTS, HeldOut

TIMES = ("seconds", "seconds_per_step", "patches_per_second", "waiting_share")


@pytest.fixture(scope="session")
def random_metric_network(tmp_path_factory):
    """Return the folder of a metric network that was never trained."""
    torch.manual_seed(5)
    folder = tmp_path_factory.mktemp("metric_network")
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


def test_f_stays_as_it_is_and_steers_the_segmentation_network(tmp_path, random_metric_network, monkeypatch):
    learned = []

    class Watched(MetricLoss):
        def __init__(self, network):
            super().__init__(network)
            learned.append(network)

    monkeypatch.setattr(training, "MetricLoss", Watched)
    chosen = {"steps": 2, "validation_patches": 0, "dropout": 0.0}
    plain = train(options(tmp_path / "plain", **chosen)).network.state_dict()
    with_f = options(
        tmp_path / "with_f",
        lesion_loss="metric-network",
        metric_network=random_metric_network,
        alpha=5.0,
        **chosen,
    )
    steered = train(with_f).network.state_dict()
    before = torch.load(random_metric_network / "metric_network.pt", weights_only=True)["parameters"]
    assert equal(dict(learned[0].state_dict()), before)
    assert not learned[0].training
    assert any(not torch.equal(plain[name], steered[name]) for name in plain)
    lines = [line for line in log_of(tmp_path / "with_f") if "lesion_gradient" in line]
    assert all(line["lesion_gradient"] > 0 and line["lesion_weight"] == 5 for line in lines)


def test_weights_and_dropout_begin_the_same_with_and_without_f(tmp_path, random_metric_network):
    chosen = {"steps": 1, "validation_patches": 0, "rate": 1e-12}
    f = {"lesion_loss": "metric-network", "metric_network": random_metric_network}
    plain, with_f = (
        train(options(tmp_path / name, **chosen, **more)) for name, more in (("plain", {}), ("with_f", f))
    )
    for name, value in plain.network.state_dict().items():
        torch.testing.assert_close(value, with_f.network.state_dict()[name])
    lines = [log_of(tmp_path / name)[-1] for name in ("plain", "with_f")]
    assert lines[0]["dice_loss"] == lines[1]["dice_loss"]


def test_batches_drawn_before_are_those_that_the_training_would_draw(tmp_path):
    """The arms of the ablation share them."""
    chosen = {"steps": 3, "validation_patches": 0}
    drawn = draw_batches(options(tmp_path, **chosen))
    assert len(drawn) == 3
    train(options(tmp_path / "given", **chosen), drawn)
    train(options(tmp_path / "own", **chosen))
    assert equal(state_of(tmp_path / "given")["network"], state_of(tmp_path / "own")["network"])


def test_refreshing_changes_f_and_is_logged(tmp_path, random_metric_network, monkeypatch):
    weights, tune = [], refresh.fine_tune
    monkeypatch.setattr(refresh, "fine_tune", lambda *a: weights.append(a[-1]) or tune(*a))
    chosen = options(
        tmp_path,
        lesion_loss="metric-network",
        metric_network=random_metric_network,
        refresh_metric=1,
        refresh_patches=4,
        refresh_steps=2,
        steps=2,
    )
    train(chosen)
    assert weights
    assert min(weights) > 0  # the squared error alone would spoil F's gradient
    before = torch.load(random_metric_network / "metric_network.pt", weights_only=True)["parameters"]
    after = state_of(tmp_path)["more"]["metric_network"]
    assert not equal(dict(after), before)
    last = log_of(tmp_path)[-1]
    assert last["refresh/absolute_error"] > 0
    assert {"validation/gap", "validation/estimate", "validation/f1"} <= last.keys()


def test_a_wrong_f_and_an_alpha_of_0_are_visible(tmp_path, random_metric_network, capsys):
    train(
        options(
            tmp_path,
            lesion_loss="metric-network",
            metric_network=random_metric_network,
            alpha=0.0,
            steps=1,
            validation_patches=0,
        )
    )
    printed = capsys.readouterr().out
    assert "trained for 0 steps" in printed
    assert "is it trained?" in printed
    assert "alpha is 0" in printed
    first = log_of(tmp_path)[0]
    assert first["metric_network/mae"] > 0.15
    assert abs(first["metric_network/pearson"]) < 0.8


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


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"lesion_loss": "metric-network"}, "--metric-network"),
        ({"batch": 3, "shards": 2}, "does not divide"),
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


def test_stages_are_kept_after_epochs_1_2_4_8():
    assert [epoch for epoch in range(20) if is_stage(epoch)] == [1, 2, 4, 8, 16]


def test_a_stage_gives_the_network_again(tmp_path):
    run = train(options(tmp_path, steps=2, save_stages=True, validation_patches=0))
    again = load_network(tmp_path / "stages" / "epoch-00001.pt")
    assert equal(dict(again.state_dict()), dict(run.network.state_dict()))
    averaged = load_network(tmp_path).state_dict()
    assert equal(dict(averaged), dict(run.averaged.parameters))
    file = save_stage(tmp_path, run.network, 3, NO_PATIENTS)
    file.write_bytes(b"")
    with pytest.raises(InputError, match="epoch-00003"):
        load_network(file)


def test_a_training_starts_from_a_folder_of_weights(tmp_path):
    network = UNet(width=8)
    (tmp_path / "weights").mkdir()
    save_weights(tmp_path / "weights", network, 8, GROUPS, OperatingPoint(0.5), {})
    stored = load_network(tmp_path / "weights").state_dict()
    for name, parameter in network.state_dict().items():
        assert torch.equal(stored[name], parameter.half().float()), name
    run = train(options(tmp_path / "run", initial=tmp_path / "weights", steps=1, rate=1e-6))
    for name, parameter in run.network.state_dict().items():
        assert torch.allclose(stored[name], parameter, atol=1e-5), name

    (tmp_path / "weights" / "segmentation.safetensors").write_bytes(b"torn")
    with pytest.raises(WeightsError, match=r"segmentation\.safetensors"):
        load_network(tmp_path / "weights")


def test_what_is_measured_and_kept_as_the_best_is_the_averaged_network(tmp_path, monkeypatch):
    scores, measured = iter([0.2, 0.5, 0.4, 0.5]), []

    def measure(_self, network, _metric_network):
        measured.append({name: value.clone() for name, value in network.state_dict().items()})
        return {"validation/f1": next(scores)}

    monkeypatch.setattr(Validation, "measure", measure)
    chosen = {"epoch_steps": 2, "validation_patches": 4}
    first = train(options(tmp_path, steps=2, **chosen))  # epochs 0 and 1
    averaged = {name: value.clone() for name, value in first.averaged.parameters.items()}
    assert equal(measured[1], averaged)
    assert not equal(dict(first.network.state_dict()), averaged)
    train(options(tmp_path, steps=6, **chosen))  # goes on; neither 0.4 nor the same again is better
    best = torch.load(tmp_path / BEST, weights_only=True)
    assert (best["f1"], best["step"]) == (0.5, 2)
    assert equal(dict(load_network(tmp_path / BEST).state_dict()), averaged)
    assert [line["validation/best_f1"] for line in log_of(tmp_path) if "validation/f1" in line] == [
        0.2,
        0.5,
        0.5,
        0.5,
    ]
    train(options(tmp_path / "next", steps=1, validation_patches=0, initial=tmp_path / BEST))
    assert not (tmp_path / "next" / BEST).exists()


def test_the_best_network_outlives_a_kill_before_the_next_checkpoint(tmp_path):
    best = Best(tmp_path)
    best.offer(UNet(width=8), 0.55, step=10)
    best.offer(UNet(width=8), 0.62, step=20)
    again = Best.of_run(tmp_path, NO_PATIENTS)
    again.offer(UNet(width=8), 0.58, step=20)  # of the repeated epoch
    assert torch.load(tmp_path / BEST, weights_only=True)["f1"] == 0.62


def test_a_run_goes_on_only_with_the_patients_that_it_held_out(tmp_path, monkeypatch):
    data = six_patients(tmp_path)
    run, fold = tmp_path / "run", {"data": data, "fold": 1}
    train(options(run, steps=1, validation_patches=0, **fold))
    assert train(options(run, steps=2, validation_patches=0, **fold)).step == 2
    before = (run / CHECKPOINT).read_bytes()
    for other in (fold | {"fold": 0}, {"data": None, "fold": 0}):
        with pytest.raises(
            UsageError, match=r"holds out patient1, this one (patient0, patient5|no patients)"
        ):
            train(options(run, steps=3, validation_patches=0, **other))
    assert (run / CHECKPOINT).read_bytes() == before


def test_waiting_batches_of_several_shards_count_whole(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        training, "make_loader", lambda _stream, settings, *_: seen.append(settings.batch) or []
    )
    chosen = options(tmp_path, batch=6)
    for shards in (range(1), range(3)):
        training._loader(chosen, BallSources(), training.patch_settings(chosen, len(shards)), shards, 0, True)
    assert seen == [6, 6]


class Answer(torch.nn.Module):
    """A segmentation network that marks what is above 1 at time 2."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(100.0))

    def forward(self, images):
        evidence = self.scale * (images[:, 1] - 1)
        return torch.stack([-evidence, evidence], dim=1)


class Constant(torch.nn.Module):
    """A metric network that always says 0.9."""

    def __init__(self):
        super().__init__()
        self.value = torch.nn.Parameter(torch.tensor(0.9))

    def forward(self, prediction, truth):
        return self.value.expand(len(prediction))


def test_validation_by_hand():
    truths = torch.zeros(2, 16, 16, 16)
    truths[0, 2:5, 2:5, 2:5] = truths[0, 9:12, 9:12, 9:12] = 1
    images = torch.zeros(2, 2, 16, 16, 16)
    images[0, 1, 2:5, 2:5, 2:5] = (
        2  # one of two lesions is found; the second patch holds none and nothing is predicted
    )
    measured = Validation(images, truths).measure(Answer(), Constant())
    f1 = (2 / 3 + 1) / 2
    expected = {
        "f1": f1,
        "dice": 2 * 27 / (27 + 54),
        "lesion_voxels": 0.5,
        "estimate": 0.9,
        "gap": 0.9 - f1,
        "gap_size": (0.9 - 2 / 3 + 0.1) / 2,
        "estimate_correlation": 0.0,
    }
    assert measured == pytest.approx(
        {f"validation/{name}": value for name, value in expected.items()}, abs=1e-6
    )


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


def test_a_run_starts_from_no_network_that_learned_its_held_out_patients(tmp_path, random_metric_network):
    zero, one = HeldOut(("patient0",)), HeldOut(("patient1",))
    network = UNet(width=8)
    stage = save_stage(tmp_path, network, 1, zero)
    Best(tmp_path, zero).offer(network, 0.5, step=1)
    for file in (stage, tmp_path / BEST):
        assert held_out_of(file) == zero
        zero.refuse_start(held_out_of(file), file)
        with pytest.raises(UsageError, match=r"made with patient1, which this run holds out"):
            one.refuse_start(held_out_of(file), file)
        NO_PATIENTS.refuse_start(held_out_of(file), file)  # nothing is measured on patients
    assert metric_held_out_of(random_metric_network) == NO_PATIENTS  # it learned from none
    one.refuse_start(NO_PATIENTS, random_metric_network)


@pytest.mark.parametrize("option", ["initial", "metric_network"])
def test_both_networks_that_a_run_starts_from_are_asked_whom_they_held_out(tmp_path, option):
    data = six_patients(tmp_path)
    other = HeldOut(("patient0", "patient5"))
    more = {"lesion_loss": "metric-network"} if option == "metric_network" else {}
    if option == "initial":
        start = save_stage(tmp_path, UNet(width=8), 1, other)
    else:
        network = MetricNetwork("compact", PATCH, width=5)
        save_metric_network(tmp_path, network, network.state_dict(), step=1, held_out=other)
        start = tmp_path
    chosen = options(tmp_path / "run", data=data, fold=1, steps=1, **{option: start}, **more)
    with pytest.raises(UsageError, match="made with patient1, which this run holds out"):
        training.train(chosen)
