"""Patients that a run of stage 2 holds out: it goes on with the same, and starts from no network that learned them."""

import pytest
from click.testing import CliRunner
from small_training import PATCH, options, six_patients, train, write_metric_network

from lesionwise.errors import UsageError
from lesionwise.network import UNet
from train.export import main as export
from train.held_out import NO_PATIENTS, HeldOut
from train.loop import CHECKPOINT
from train.metric_network.export import main as export_metric_network
from train.metric_network.files import held_out_of as metric_held_out_of
from train.metric_network.files import save_metric_network
from train.metric_network.network import MetricNetwork
from train.segmentation import training
from train.segmentation.best import BEST, Best
from train.segmentation.stages import held_out_of, save_stage


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
    zero, one = HeldOut(("patient0",), ("patient1",)), HeldOut(("patient1",), ("patient0",))
    network = UNet(width=8)
    stage = save_stage(tmp_path, network, 1, zero)
    Best(tmp_path, zero).offer(network, 0.5, step=1)
    for file in (stage, tmp_path / BEST):
        assert held_out_of(file) == zero
        assert zero.after(held_out_of(file), file) == zero
        with pytest.raises(UsageError, match=r"was made with patient1, which this run holds out"):
            one.after(held_out_of(file), file)
        # Nothing is measured on patients: what is made of this run hands on whom it started from.
        assert NO_PATIENTS.after(held_out_of(file), file).learned == ("patient1",)
        elsewhere = HeldOut(("hospital1",), ("hospital2",))
        assert elsewhere.after(held_out_of(file), file).learned == ("hospital2", "patient1")
    assert metric_held_out_of(random_metric_network) == NO_PATIENTS  # it learned from none
    assert one.after(NO_PATIENTS, random_metric_network) == one


def test_of_a_file_that_states_only_whom_it_held_out_all_others_may_be_learned(tmp_path):
    older = HeldOut.stated_in({"more": {"held_out": {"names": ["patient0"]}}})
    assert HeldOut(("patient0",), ("patient1",)).after(older, tmp_path).names == ("patient0",)
    with pytest.raises(UsageError, match="may have been made with patient1, which this run holds out"):
        HeldOut(("patient1",), ("patient0",)).after(older, tmp_path)


def test_whom_a_run_learned_is_handed_on_by_one_without_patients_and_by_weights(tmp_path):
    data, short = six_patients(tmp_path), {"steps": 1, "validation_patches": 0}
    train(options(tmp_path / "a", data=data, fold=0, **short))
    train(options(tmp_path / "b", initial=tmp_path / "a", **short))
    train(
        options(tmp_path / "b", **{**short, "steps": 2})
    )  # it goes on, and need not be told from what it started
    (tmp_path / "facts.json").write_text('{"training_data": [], "training": {"command": "x"}, "commit": "c"}')
    files = [tmp_path / "b", "--facts", tmp_path / "facts.json", "--output", tmp_path / "weights"]
    exported = CliRunner().invoke(export, [*map(str, files), "--width", "8"])
    assert exported.exit_code == 0, exported.output
    for start in ("a", "b", "weights"):
        assert held_out_of(tmp_path / start).learned == ("patient1", "patient2", "patient3", "patient4")
        with pytest.raises(UsageError, match=f"{start}: it was made with patient1, which this run holds out"):
            train(options(tmp_path / "c", initial=tmp_path / start, data=data, fold=1, **short))
        assert not (tmp_path / "c").exists()


def test_whom_a_metric_network_learned_stands_in_its_manifest(tmp_path):
    network, learned = MetricNetwork("compact", PATCH, width=5), HeldOut(("patient0",), ("patient1",))
    save_metric_network(tmp_path, network, network.state_dict(), step=1, held_out=learned)
    (tmp_path / "facts.json").write_text("{}")
    files = [tmp_path, "--facts", tmp_path / "facts.json", "--output", tmp_path / "exported"]
    exported = CliRunner().invoke(export_metric_network, [*map(str, files)])
    assert exported.exit_code == 0, exported.output
    assert metric_held_out_of(tmp_path / "exported") == learned


@pytest.mark.parametrize("option", ["initial", "metric_network"])
def test_both_networks_that_a_run_starts_from_are_asked_whom_they_held_out(tmp_path, option):
    data = six_patients(tmp_path)
    other = HeldOut(("patient0", "patient5"), ("patient1", "patient2", "patient3", "patient4"))
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
