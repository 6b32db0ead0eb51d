"""Patients that a run of stage 2 holds out: it goes on with the same, and starts from no network that learned them."""

import pytest
from small_training import PATCH, options, six_patients, train, write_metric_network

from lesionwise.errors import UsageError
from lesionwise.network import UNet
from train.loop import CHECKPOINT
from train.metric_network.files import held_out_of as metric_held_out_of
from train.metric_network.files import save_metric_network
from train.metric_network.network import MetricNetwork
from train.segmentation import training
from train.segmentation.best import BEST, Best
from train.segmentation.stages import held_out_of, save_stage
from train.sources import NO_PATIENTS, HeldOut


@pytest.fixture(scope="module")
def random_metric_network(tmp_path_factory):
    return write_metric_network(tmp_path_factory.mktemp("metric_network"))


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
