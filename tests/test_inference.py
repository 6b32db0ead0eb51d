"""A network over a volume: blending, skipping, and a network that can be followed by hand."""

import numpy as np
import pytest
import torch
from small_case import difference_network

from lesionwise.inference import network_runner, predict_probabilities
from lesionwise.windows import gaussian_weights

CPU = torch.device("cpu")


def pair(shape):
    rng = np.random.default_rng(3)
    return tuple(rng.normal(size=shape).astype(np.float32) for _ in range(2))


def test_a_voxelwise_answer_is_not_changed_by_windows_and_weights():
    time1, time2 = pair((20, 17, 16))
    mask = np.ones(time1.shape, dtype=bool)
    blended = predict_probabilities(
        lambda w: torch.sigmoid(w[:, 1] - w[:, 0]), time1, time2, mask, overlap=0.5, size=16
    )
    np.testing.assert_allclose(blended, 1 / (1 + np.exp(time1 - time2)), rtol=1e-5)


def test_two_overlapping_windows_blend_by_their_weights():
    shape = (12, 8, 8)
    answers = iter([0.0, 1.0])
    blended = predict_probabilities(
        lambda w: torch.full((1, 8, 8, 8), next(answers)),
        *pair(shape),
        np.ones(shape, bool),
        overlap=0.5,
        size=8,
    )
    weights = gaussian_weights((8, 8, 8))
    assert not blended[:4].any()
    assert (blended[8:] == 1).all()
    np.testing.assert_allclose(blended[4:8], weights[:4] / (weights[4:] + weights[:4]), rtol=1e-5)


def test_windows_without_brain_are_not_computed_and_stay_zero():
    shape = (24, 8, 8)
    mask = np.zeros(shape, bool)
    mask[3, 4, 4] = True
    computed, heard = [], []

    def run(windows):
        computed.append(len(windows))
        return torch.ones(len(windows), 8, 8, 8)

    progress = lambda done, total: heard.append((done, total))  # noqa: E731
    blended = predict_probabilities(run, *pair(shape), mask, overlap=0, size=8, on_progress=progress)
    assert computed == [1]
    assert heard == [(1, 1)]
    assert (blended[:8] == 1).all()
    assert not blended[8:].any()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_mirroring_the_input_mirrors_the_output(axis):
    time1, time2 = pair((24, 16, 16))
    time2[8:11, 6:9, 7:9] += 3
    mask = np.ones(time1.shape, bool)
    run = network_runner(difference_network(), CPU, torch.float32)
    straight = predict_probabilities(run, time1, time2, mask, overlap=0.75, size=16)
    mirrored = predict_probabilities(
        run, *(np.ascontiguousarray(np.flip(a, axis)) for a in (time1, time2)), mask, overlap=0.75, size=16
    )
    assert straight.max() > 0.5
    np.testing.assert_allclose(np.flip(mirrored, axis), straight, atol=1e-5)


def test_what_is_brighter_at_time_2_is_found_and_the_other_way_round_is_not():
    time1 = np.ones((16, 16, 16), np.float32)
    time2 = time1.copy()
    time2[6:9, 6:9, 6:9] = 1.6
    run = network_runner(difference_network(), CPU, torch.float32)
    mask = np.ones(time1.shape, bool)
    np.testing.assert_array_equal(
        predict_probabilities(run, time1, time2, mask, size=16, overlap=0.5) > 0.5, time2 > 1
    )
    assert predict_probabilities(run, time2, time1, mask, size=16, overlap=0.5).max() < 0.5


def test_bfloat16_agrees_with_float32_to_its_own_precision():
    time1, time2 = pair((16, 16, 16))
    torch.manual_seed(0)
    network = type(difference_network())(width=8)
    mask = np.ones(time1.shape, bool)
    full, half = (
        predict_probabilities(
            network_runner(network, CPU, precision), time1, time2, mask, size=16, overlap=0.5
        )
        for precision in (torch.float32, torch.bfloat16)
    )
    assert full.std() > 0
    np.testing.assert_allclose(half, full, atol=0.02)
    assert np.any(half != full)
