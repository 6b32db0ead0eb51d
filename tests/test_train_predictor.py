"""A network over prepared pairs: only the brain counts, and probabilities and operating point are the weights' own."""

from dataclasses import replace
from math import exp

import numpy as np
import pytest
from small_case import GROUPS, WIDTH, difference_network, write_weights

from lesionwise.errors import InputError
from lesionwise.lesions import OperatingPoint
from lesionwise.simulation.timepoints import SyntheticPair
from lesionwise.weights import save_weights
from train.checkpoints import save_checkpoint
from train.loop import CHECKPOINT
from train.predictor import open_predictor

SHAPE = (24, 20, 18)


def opened(network):
    return open_predictor(network, window=None, tta=False, threads=1, device="cpu")


@pytest.fixture
def pair():
    """Return a box of brain at 1 with a lesion that appears and one that vanishes; nothing outside."""
    brain, new, vanished = (np.zeros(SHAPE, dtype=bool) for _ in range(3))
    brain[3:21, 3:17, 3:15] = True
    new[6:9, 6:9, 6:9] = vanished[14:17, 10:13, 6:9] = True
    time1, time2 = (np.where(lesion, 1.6, brain).astype(np.float32) for lesion in (vanished, new))
    return SyntheticPair(time1, time2, brain, new, vanished)


@pytest.fixture
def stated(tmp_path):
    """Return a folder of weights that state a temperature and an operating point."""
    point, facts = OperatingPoint(0.3, 0.6), {"temperature": 2.0}
    save_weights(tmp_path, difference_network(), WIDTH, GROUPS, point, facts)
    return tmp_path


def test_the_new_lesion_is_found_and_outside_the_brain_is_0(pair, tmp_path):
    found = opened(write_weights(tmp_path)).probability(pair)
    assert found.shape == SHAPE
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found > 0.5, pair.new_lesions)
    assert not found[~pair.brain].any()
    # What is not brighter has a logit of -4, the bias of the network's last layer.
    np.testing.assert_allclose(found[pair.brain & ~pair.new_lesions], 1 / (1 + exp(4)), rtol=1e-2)


def test_what_lies_outside_the_brain_is_not_shown_to_the_network(pair, tmp_path):
    # It normalises by all that it is shown: skull that got brighter would make a lesion stand out less.
    predictor, shown = opened(write_weights(tmp_path)), []
    watched = replace(predictor, run=lambda windows: shown.append(windows.numpy()) or predictor.run(windows))
    skull = np.where(pair.brain, 0, np.random.default_rng(1).uniform(1, 3, (2, *SHAPE))).astype(np.float32)
    whole_head = replace(pair, time1=pair.time1 + skull[0], time2=pair.time2 + skull[1])
    np.testing.assert_array_equal(watched.probability(whole_head), predictor.probability(pair))
    (window,) = shown  # the whole grid, up to multiples of 8
    inside = tuple(slice(n) for n in SHAPE)
    np.testing.assert_array_equal(window[0][:, *inside], [pair.time1, pair.time2])


def test_weights_bring_their_temperature_and_their_operating_point(pair, stated):
    predictor = opened(stated)
    assert predictor.operating_point == OperatingPoint(0.3, 0.6)
    assert predictor.temperature == 2
    found = predictor.probability(pair)
    healthy = pair.brain & ~pair.new_lesions
    np.testing.assert_allclose(found[healthy], 1 / (1 + exp(2)), rtol=1e-2)  # a logit of -4, halved
    assert not found[~pair.brain].any()


@pytest.mark.parametrize("name", [CHECKPOINT, ""])
def test_a_checkpoint_or_a_runs_folder_has_a_temperature_of_1_and_a_threshold_of_05(name, pair, tmp_path):
    averaged = difference_network().state_dict()
    trained = {name: 0 * value for name, value in averaged.items()}  # is not what is used
    save_checkpoint(tmp_path / CHECKPOINT, {"network": trained, "averaged": averaged})
    predictor = opened(tmp_path / name)
    assert predictor.temperature == 1
    assert predictor.operating_point == OperatingPoint(0.5)
    found = predictor.probability(pair)
    np.testing.assert_array_equal(found, opened(write_weights(tmp_path / "weights")).probability(pair))


def test_a_folder_with_neither_weights_nor_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"checkpoint\.pt: there is no segmentation network"):
        opened(tmp_path)
