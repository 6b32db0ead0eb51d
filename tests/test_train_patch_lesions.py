"""The lesions of patches and what is known of each, worked out by hand on boxes that overlap."""

import math

import numpy as np
import pytest
import torch

from train.metric_network.patch_lesions import Lesions
from train.metric_network.targets import lesion_counts


def boxes():
    """Return odds and truth: a true lesion of 8 voxels, half covered by a predicted one of 16, and a piece of 3 voxels."""
    odds, truth = torch.zeros(2, 16, 16, 16), torch.zeros(2, 16, 16, 16)
    truth[1, 6:8, 6:8, 6:8] = 1
    truth[1, 0, 0, 8:11] = 1
    odds[1, 6:8, 6:8, 7:11] = 0.7
    return odds, truth


def both(odds, truth):
    return Lesions.of_prediction(odds, odds), Lesions.of_truth(truth)


def random_patches(count, size=16):
    """Return odds and truth of many small lesions that touch and cut each other."""
    odds, truth = (
        torch.rand(count, *(size,) * 3, generator=torch.Generator().manual_seed(k)) for k in (1, 2)
    )
    return odds * 0.7, (truth > 0.75).float()


def test_shares_of_two_boxes_by_hand():
    predicted, true = both(*boxes())
    assert (predicted.count, true.count) == (1, 1)
    assert (predicted.volume.tolist(), true.volume.tolist()) == ([16], [8])
    # Half of the true lesion is covered, by a lesion of which a quarter lies in it; and the other way round.
    torch.testing.assert_close(true.shares(predicted), torch.tensor([[8 ** (-1 / 3), 4 / 8, 4 / 16]]))
    torch.testing.assert_close(predicted.shares(true), torch.tensor([[16 ** (-1 / 3), 4 / 16, 4 / 8]]))


def test_a_lesion_counts_once_spread_over_its_cells():
    predicted, true = both(*boxes())
    around = torch.zeros(2, 2, 2, 2)
    counted = predicted.counted(
        torch.tensor([math.log(3)]), around
    )  # odds of 3 to 1: found by three quarters
    # A quarter of the 16 voxels lies in the cell below z = 8, the rest above.
    expected = torch.zeros(2, 2, 2, 2, 2)
    expected[1, :, 0, 0, 0] = torch.tensor([0.75, 0.25]) / 4
    expected[1, :, 0, 0, 1] = torch.tensor([0.75, 0.25]) * 3 / 4
    torch.testing.assert_close(counted, expected)
    around[1, 0, 0, 1] = 60.0  # what lies around says that the part above is found
    assert float(predicted.counted(torch.zeros(1), around)[1, 0, 0, 0, 1]) == pytest.approx(3 / 4)
    assert true.counted(torch.zeros(1), around).sum() == 1


def test_counts_of_sure_odds_are_those_of_the_evaluator():
    odds, truth = random_patches(1)
    predicted, true = both(odds, truth)
    wanted = lesion_counts(odds[0].numpy() > 0.5, truth[0].numpy() > 0.5)
    around = torch.zeros(1, 2, 2, 2)
    for lesions, counts in ((true, wanted[:2]), (predicted, wanted[2:])):
        assert lesions.count > 10
        all_found = lesions.counted(torch.full((lesions.count,), 40.0), around)[0]
        np.testing.assert_allclose(all_found[0].numpy(), counts.sum(0), rtol=1e-5)
        assert float(all_found[1].max()) < 1e-15


def test_a_patch_does_not_see_the_lesions_of_another():
    odds, truth = random_patches(3)
    predicted, true = both(odds, truth)
    alone, true_alone = both(odds[1:2], truth[1:2])
    mine = true.labels[1][true.labels[1] > 0].unique() - 1
    torch.testing.assert_close(true.shares(predicted)[mine], true_alone.shares(alone))
    around = torch.rand(3, 2, 2, 2)
    log_odds = torch.rand(true.count)
    torch.testing.assert_close(
        true.counted(log_odds, around)[1:2], true_alone.counted(log_odds[mine], around[1:2])
    )


def test_nothing_in_nothing_gives_nothing():
    nothing = torch.zeros(1, 8, 8, 8)
    predicted, true = both(nothing, nothing)
    assert predicted.shares(true).shape == (0, 3)
    assert not predicted.counted(torch.zeros(0), torch.zeros(1, 1, 1, 1)).any()


@pytest.mark.parametrize("odds_there", [0.3, 0.7])
def test_higher_odds_on_a_true_lesion_cover_more_of_it(odds_there):
    odds, truth = boxes()
    odds[odds > 0] = odds_there  # a missed one and a found one
    odds.requires_grad_(True)
    predicted, true = both(odds, truth)
    true.shares(predicted)[0, 1].backward()
    torch.testing.assert_close(odds.grad, truth * (Lesions.of_truth(truth).labels > 0) / 8)


def test_what_covers_a_lesion_lies_the_more_inside_the_less_it_has_outside():
    odds, truth = boxes()
    odds.requires_grad_(True)
    predicted, true = both(odds, truth)
    predicted.shares(true)[0, 1].backward()
    # A quarter of 16 voxels is inside: d (s / v) is 1/16 - 4/16^2 inside and -4/16^2 outside.
    inside = (odds.detach() > 0.5) & (truth > 0)
    expected = (odds.detach() > 0.5) * (-1 / 64) + inside / 16
    torch.testing.assert_close(odds.grad, expected)


def test_lower_odds_make_a_false_lesion_count_less():
    odds, _truth = boxes()
    odds.requires_grad_(True)
    predicted = Lesions.of_prediction(odds, odds)
    _found, missed = predicted.counted(torch.tensor([-40.0]), torch.zeros(2, 2, 2, 2)).unbind(1)
    missed.sum().backward()
    torch.testing.assert_close(odds.grad, (odds.detach() > 0.5) / 16)
