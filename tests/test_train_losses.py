"""Losses of stage 2, with values worked out by hand."""

import numpy as np
import pytest
import torch

from train.metric_network.network import MetricNetwork
from train.segmentation.blob_loss import blob_loss
from train.segmentation.cc_dice import cc_dice_loss, cells
from train.segmentation.losses import cross_entropy, dice_loss, mean_over_patches
from train.segmentation.metric_loss import MetricLoss
from train.segmentation.objective import Objective


def line(*values):
    """Return a patch (1, n, 1, 1)."""
    return torch.tensor(values, dtype=torch.float32).reshape(1, -1, 1, 1)


TRUTH = line(1, 1, 0, 0, 0, 1, 0, 0)  # lesions of 2 and 1 voxels
PREDICTED = line(1, 1, 0, 0, 0, 0, 0, 1)  # the larger is found, a false voxel lies beside the smaller


def test_dice_by_hand():
    # overlap 2, voxels 3 + 3, smoothing 10
    assert float(dice_loss(PREDICTED, TRUTH)) == pytest.approx(1 - (4 + 10) / (6 + 10))


def test_dice_pools_the_batch():
    empty = torch.zeros_like(TRUTH)
    pooled = dice_loss(torch.cat([PREDICTED, PREDICTED]), torch.cat([TRUTH, empty]))
    assert float(pooled) == pytest.approx(1 - (4 + 10) / (9 + 10))


def test_blob_loss_by_hand():
    # Lesion 1: overlap 2, other lesion masked out, false voxel counts: (4 + 1) / (2 + 1 + 2 + 1).
    # Lesion 2: overlap 0; the true positives of lesion 1 are masked out: (0 + 1) / (0 + 1 + 1 + 1).
    assert float(blob_loss(PREDICTED, TRUTH)) == pytest.approx(1 - (5 / 6 + 1 / 3) / 2)


def test_cc_dice_by_hand():
    # Voxel 3 is as far from one lesion as from the other; whose cell it is in does not matter, as nothing is there.
    # Lesion 1: (4 + 1) / (2 + 2 + 1). Lesion 2: the false voxel is in its cell: (0 + 1) / (1 + 1 + 1).
    assert float(cc_dice_loss(PREDICTED, TRUTH)) == pytest.approx(1 - (1 + 1 / 3) / 2)


def test_a_false_voxel_counts_against_every_blob_but_against_one_cell():
    clean = line(1, 1, 0, 0, 0, 1, 0, 0)
    dirty = line(1, 1, 0, 0, 0, 1, 0, 1)
    # Blobs: (4 + 1) / (2 + 1 + 2 + 1) and (2 + 1) / (1 + 1 + 1 + 1). Cells: 1 and (2 + 1) / (2 + 1 + 1).
    assert float(blob_loss(clean, TRUTH)) == float(cc_dice_loss(clean, TRUTH)) == 0
    assert float(blob_loss(dirty, TRUTH)) == pytest.approx(1 - (5 / 6 + 3 / 4) / 2)
    assert float(cc_dice_loss(dirty, TRUTH)) == pytest.approx(1 - (1 + 3 / 4) / 2)


@pytest.mark.parametrize("loss", [blob_loss, cc_dice_loss])
def test_patches_without_lesions_do_not_count(loss):
    empty = torch.zeros_like(TRUTH)
    alone = loss(PREDICTED, TRUTH)
    torch.testing.assert_close(loss(torch.cat([PREDICTED, PREDICTED]), torch.cat([TRUTH, empty])), alone)
    predicted = PREDICTED.clone().requires_grad_(True)
    nothing = loss(predicted, empty)
    nothing.backward()
    assert float(nothing.detach()) == 0
    assert not predicted.grad.any()


@pytest.mark.parametrize("loss", [blob_loss, cc_dice_loss])
def test_a_small_lesion_weighs_as_much_as_a_large_one(loss):
    truth = line(*[1] * 20, 0, 0, 0, 1, 1, 0)
    without_large = line(*[0] * 20, 0, 0, 0, 1, 1, 0)
    without_small = line(*[1] * 20, 0, 0, 0, 0, 0, 0)
    assert dice_loss(without_large, truth) > 3 * dice_loss(without_small, truth)
    assert loss(without_large, truth) < 1.5 * loss(without_small, truth)


@pytest.mark.parametrize("loss", [dice_loss, blob_loss, cc_dice_loss])
def test_shapes_that_differ_are_refused(loss):
    with pytest.raises(ValueError, match="differ in shape"):
        loss(TRUTH, TRUTH[:, 1:])


def test_cells_hold_what_is_nearest():
    assert cells(np.array([1, 1, 0, 0, 0, 0, 2])).tolist() == [1, 1, 1, 1, 2, 2, 2]


def test_cross_entropy_by_hand():
    logits = torch.zeros(1, 2, 2, 1, 1)
    logits[0, 1, 0] = np.log(3)  # probability 3/4 for the first voxel, a lesion; 1/2 for the second, none
    expected = (-np.log(3 / 4) - np.log(1 / 2)) / 2
    assert float(cross_entropy(logits, line(1, 0))) == pytest.approx(expected, rel=1e-6)


def test_mean_over_patches_of_none_is_0():
    assert float(mean_over_patches([], torch.ones(2))) == 0


def metric_loss():
    torch.manual_seed(0)
    return MetricLoss(MetricNetwork("compact", 16, width=5, dropout=0.5))


def test_metric_loss_is_one_minus_the_mean_estimate_in_eval_mode():
    loss = metric_loss()
    p, t = torch.rand(2, 16, 16, 16), (torch.rand(2, 16, 16, 16) > 0.9).float()
    estimates = loss.metric_network(p, t)
    assert float(loss(p, t)) == pytest.approx(float(1 - estimates.mean()), rel=1e-5)
    assert float(loss(p, t)) == float(loss(p, t))  # no dropout


def test_gradients_pass_through_f_to_the_prediction_only():
    loss = metric_loss()
    p, t = torch.rand(1, 16, 16, 16, requires_grad=True), torch.zeros(1, 16, 16, 16)
    loss(p, t).backward()
    assert p.grad.abs().sum() > 0
    assert all(
        parameter.grad is None and not parameter.requires_grad
        for parameter in loss.metric_network.parameters()
    )


def logits_and_truth():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 2, 16, 16, 16, generator=generator).requires_grad_(True)
    return logits, (torch.rand(2, 16, 16, 16, generator=generator) > 0.95).float()


@pytest.mark.parametrize("lesion_loss", [blob_loss, cc_dice_loss, metric_loss()])
def test_total_loss_and_its_gradient_are_those_of_the_plain_sum(lesion_loss):
    logits, truth = logits_and_truth()
    total, parts = Objective(lesion_loss, alpha=0.2, entropy_weight=0.5)(logits, truth)
    (gradient,) = torch.autograd.grad(total, logits)
    probabilities = logits.softmax(1)[:, 1]
    plain = (
        dice_loss(probabilities, truth)
        + 0.5 * cross_entropy(logits, truth)
        + 0.2 * lesion_loss(probabilities, truth)
    )
    torch.testing.assert_close(total, plain)
    torch.testing.assert_close(gradient, torch.autograd.grad(plain, logits)[0])
    assert parts["lesion_weight"] == pytest.approx(0.2)


def test_balancing_makes_alpha_the_ratio_of_the_gradients():
    logits, truth = logits_and_truth()
    total, parts = Objective(blob_loss, alpha=0.3, balance=True)(logits, truth)
    assert parts["lesion_weight"] * parts["lesion_gradient"] == pytest.approx(
        0.3 * parts["voxel_gradient"], rel=1e-4
    )
    (gradient,) = torch.autograd.grad(total, logits)
    probabilities = logits.softmax(1)[:, 1]
    (voxel,) = torch.autograd.grad(dice_loss(probabilities, truth), logits)
    assert float((gradient - voxel).norm()) == pytest.approx(0.3 * float(voxel.norm()), rel=1e-3)


def test_balancing_leaves_out_a_term_without_gradient():
    logits, truth = logits_and_truth()

    def flat(probabilities, _truth):
        return 0.0 * probabilities.sum()

    total, parts = Objective(flat, alpha=0.3, balance=True)(logits, truth)
    assert parts["lesion_weight"] == 0
    (gradient,) = torch.autograd.grad(total, logits)
    (voxel,) = torch.autograd.grad(dice_loss(logits.softmax(1)[:, 1], truth), logits)
    torch.testing.assert_close(gradient, voxel)


def test_without_effect_shows_in_the_log():
    logits, truth = logits_and_truth()
    total, parts = Objective(blob_loss, alpha=0.0)(logits, truth)
    assert parts["lesion_weight"] == 0
    assert float(total.detach()) == pytest.approx(parts["dice_loss"])
    assert "lesion_loss" not in Objective()(logits, truth)[1]
