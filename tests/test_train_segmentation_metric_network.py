"""Stage 2 with a metric network: it steers the training and stays as it is, but where it is refreshed."""

import pytest
import torch
from small_training import equal, log_of, options, state_of, train, write_metric_network

from train.segmentation import refresh, training
from train.segmentation.metric_loss import MetricLoss


@pytest.fixture(scope="module")
def random_metric_network(tmp_path_factory):
    return write_metric_network(tmp_path_factory.mktemp("metric_network"))


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
