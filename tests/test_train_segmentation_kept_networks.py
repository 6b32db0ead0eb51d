"""Networks that stage 2 keeps and starts from: stages, the best one by a validation worked out by hand, and weights."""

import pytest
import torch
from small_training import equal, log_of, options, train

from lesionwise.errors import InputError, WeightsError
from lesionwise.lesions import OperatingPoint
from lesionwise.network import GROUPS, UNet
from lesionwise.weights import save_weights
from train.held_out import NO_PATIENTS
from train.segmentation.best import BEST, Best
from train.segmentation.stages import is_stage, load_network, save_stage
from train.segmentation.validation import Validation


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
    best = Best(tmp_path, NO_PATIENTS)
    best.offer(UNet(width=8), 0.55, step=10)
    best.offer(UNet(width=8), 0.62, step=20)
    again = Best.of_run(tmp_path, NO_PATIENTS)
    again.offer(UNet(width=8), 0.58, step=20)  # of the repeated epoch
    assert torch.load(tmp_path / BEST, weights_only=True)["f1"] == 0.62


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
