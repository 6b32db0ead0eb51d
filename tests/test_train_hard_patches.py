"""Choosing the hardest of the patches drawn: by lesions first, and without leaving the training without gradients."""

import pytest
import torch
from small_training import options, train

from lesionwise.errors import UsageError
from train.segmentation.hard_patches import hardest


class Shown(torch.nn.Module):
    """A network whose lesion logit is the second time point itself, and which tells the mode it was asked in."""

    def __init__(self):
        super().__init__()
        self.modes = []

    def forward(self, pair):
        self.modes.append((self.training, torch.is_grad_enabled()))
        return torch.cat([torch.zeros_like(pair[:, 1:]), pair[:, 1:]], 1)


def patch(*lesions):
    """Return a mask (16, 16, 16) of cubes with an edge of 3 voxels at these corners."""
    mask = torch.zeros(16, 16, 16)
    for x, y, z in lesions:
        mask[x : x + 3, y : y + 3, z : z + 3] = 1
    return mask


def test_lesions_decide_before_voxels_do():
    one, other = (2, 2, 2), (10, 10, 10)
    truth = torch.stack([patch(one), patch(one, other), patch(), patch(one)])
    found = torch.stack([patch(one), patch(one), patch(other), patch(one)])
    # F1 by hand: all found 1; one of two lesions found 2/3; nothing there and one found 0; all found, but hardly above 0.5.
    sure = torch.tensor([8.0, 8.0, 8.0, 0.1])[:, None, None, None]
    logits = sure * (2 * found - 1)
    images = torch.stack([torch.zeros_like(logits), logits], 1)
    network = Shown().train()
    for kept, expected in ((1, [2]), (2, [2, 1]), (4, [2, 1, 3, 0])):
        chosen, their_truth = hardest(network, images, truth, kept)
        assert torch.equal(chosen, images[expected])
        assert torch.equal(their_truth, truth[expected])
    assert network.training
    assert set(network.modes) == {(False, False)}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_all_layers_still_learn(tmp_path, precision):
    # Autocast keeps copies of the weights; torch once kept those made without gradients, too, for the step.
    chosen = {"candidates": 3, "precision": precision, "steps": 3, "validation_patches": 0, "average": 0.0}
    one, three = (
        train(options(tmp_path / str(steps), **chosen | {"steps": steps})).network for steps in (1, 3)
    )
    after = dict(three.named_parameters())
    for name, parameter in one.named_parameters():
        assert not torch.equal(parameter, after[name]), name


def test_a_step_trains_on_the_batch_alone(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "train.segmentation.training.hardest",
        lambda network, images, truth, kept, definition: (
            seen.append((len(images), kept)) or (images[:kept], truth[:kept])
        ),
    )
    train(options(tmp_path, candidates=3, validation_patches=0, steps=2))
    assert seen == [(6, 2), (6, 2)]
    with pytest.raises(UsageError, match="a batch of 8 is more than the 6 patches"):
        train(options(tmp_path / "more", candidates=4))
