"""Predictions close to where F1 jumps: they lie between two masks, and near what decides."""

from dataclasses import replace

import numpy as np

from train.metric_network import mask_pairs
from train.metric_network.corruptions import Shapes, random_boxes
from train.metric_network.jumps import beside_a_jump
from train.metric_network.mask_pairs import PairSettings, balanced_group
from train.metric_network.network import MetricNetwork
from train.metric_network.report import measure
from train.metric_network.targets import bin_of, patch_f1


def box(low, high, size=32):
    mask = np.zeros((size,) * 3, dtype=bool)
    mask[low:high, low:high, low:high] = True
    return mask


def test_a_lesion_that_shrinks_stops_near_what_decides():
    # The prediction shrinks from all of the truth, 12^3 voxels, to nothing. The lesion is found above a tenth, but the
    # prediction is right only while no more than seven tenths of the true lesion lie outside of it: from 519 voxels on.
    truth = box(10, 22)
    found = [
        beside_a_jump(truth, np.zeros_like(truth), lambda p: patch_f1(p, truth), np.random.default_rng(seed))
        for seed in range(40)
    ]
    covered = np.array([np.count_nonzero(mask) for mask in found])
    assert all((mask <= truth).all() for mask in found)
    f1 = np.array([patch_f1(mask, truth) for mask in found])
    assert set(f1) == {0.0, 1.0}  # both sides of the jump
    assert (f1 == (covered >= 519)).all()
    assert np.median(np.abs(covered - 518.4)) < 200  # drawn anywhere between, it would be over 400


def test_of_two_jumps_the_higher_is_found():
    # Both lesions vanish together, the larger one later: first F1 falls from 1 to 2/3, then from there to 0.
    truth = box(4, 8) | box(14, 26)
    nothing = np.zeros_like(truth)
    f1 = [
        patch_f1(
            beside_a_jump(truth, nothing, lambda p: patch_f1(p, truth), np.random.default_rng(seed)), truth
        )
        for seed in range(20)
    ]
    assert {round(value, 3) for value in f1} == {0.0, 0.667}


def test_without_a_jump_the_result_still_lies_between():
    mask = box(4, 10)
    same = beside_a_jump(mask, mask, lambda _: 1.0, np.random.default_rng(0))
    np.testing.assert_array_equal(same, mask)


def test_the_share_of_pairs_beside_a_jump_is_what_was_asked_for(monkeypatch):
    moved = []
    monkeypatch.setattr(mask_pairs, "beside_a_jump", lambda first, *_others: moved.append(True) or first)
    drawn = []
    corrupted = mask_pairs._corrupted
    monkeypatch.setattr(mask_pairs, "_corrupted", lambda *a: drawn.append(True) or corrupted(*a))
    for share, low, high in ((0.0, 0, 0), (0.5, 0.3, 0.7), (1.0, 1, 1)):
        moved.clear()
        drawn.clear()
        rng = np.random.default_rng(1)
        balanced_group(PairSettings(24, 4, jump_share=share), Shapes(random_boxes(rng, 50)), None, rng)
        assert low <= len(moved) / len(drawn) <= high


def test_pairs_beside_a_jump_are_balanced_and_measured():
    settings = PairSettings(size=24, batch=4, jump_share=1.0)
    rng = np.random.default_rng(1)
    pairs = balanced_group(settings, Shapes(random_boxes(rng, 50)), None, rng)
    assert np.bincount(bin_of([pair.f1 for pair in pairs]), minlength=10).tolist() == [4] * 10
    assert all(pair.f1 == patch_f1(pair.prediction, pair.truth) for pair in pairs)


def test_held_out_pairs_do_not_depend_on_the_share():
    settings = PairSettings(size=24, batch=2)
    network = MetricNetwork(patch=24, width=2)
    plain, beside = (
        measure(network, replace(settings, jump_share=share), 20, seed=1) for share in (0.0, 1.0)
    )
    for kind, values in plain.items():
        for one, other in zip(values, beside[kind], strict=True):
            np.testing.assert_array_equal(one, other)
