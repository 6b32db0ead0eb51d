"""What becomes of the network's probabilities: mirrored views, temperature, and how sure it is of a lesion."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lesionwise.calibration import LesionConfidence, mirrored, tempered


def test_temperature_by_hand():
    p = np.array([0, 0.2, 0.5, 0.8, 1], np.float32)
    # The odds 1/4 and 4 become their square roots, 1/2 and 2.
    assert tempered(p, 2.0) == pytest.approx([0, 1 / 3, 0.5, 2 / 3, 1])
    assert np.array_equal(tempered(p, 1.0), p)


@given(st.floats(0.001, 0.999), st.floats(0.001, 0.999), st.floats(0.2, 5))
def test_temperature_keeps_the_order(first, second, temperature):
    low, high = tempered(np.sort(np.array([first, second], np.float32)), temperature)
    assert low <= high


def test_mirrored_views_are_averaged_and_laid_over_each_other():
    def darker_to_the_right(windows):  # depends on the direction, unlike a head
        return windows[:, 0] * torch.arange(windows.shape[2])[None, :, None, None]

    windows = torch.ones(1, 2, 4, 3, 2)
    assert torch.equal(mirrored(darker_to_the_right)(windows), torch.full((1, 4, 3, 2), 1.5))


def test_mirroring_the_input_mirrors_the_output():
    weights = torch.rand(5)

    def run(windows):
        return (windows.sum(1).roll(1, 1) * weights[None, :, None, None]).sigmoid()

    windows = torch.rand(2, 2, 5, 3, 3)
    both = mirrored(run)
    assert torch.allclose(both(windows.flip(2)), both(windows).flip(1))


def test_confidence_by_hand():
    confidence = LesionConfidence.of(
        {"lesion_confidence": {"intercept": -1.0, "per_log_mm3": 0.5, "per_logit": 2.0}}
    )
    assert confidence(np.e**2, 0.5) == pytest.approx(0.5)  # -1 + 0.5 * 2 + 2 * 0
    assert confidence(100, 0.9) > confidence(10, 0.9) > confidence(10, 0.6)


def test_coefficients_may_be_written_without_a_point():
    stated = {"lesion_confidence": {"intercept": -1, "per_log_mm3": 0, "per_logit": 2}}
    assert LesionConfidence.of(stated) == LesionConfidence(-1.0, 0.0, 2.0)


@pytest.mark.parametrize(
    "stated",
    [
        {},
        {"lesion_confidence": {}},
        {"lesion_confidence": {"intercept": "much"}},
        *(
            {"lesion_confidence": {"intercept": number, "per_log_mm3": 0.5, "per_logit": 2.0}}
            for number in (np.nan, -np.inf, 10**400)
        ),
    ],
)
def test_weights_that_state_none_give_none(stated):
    assert LesionConfidence.of(stated) is None
