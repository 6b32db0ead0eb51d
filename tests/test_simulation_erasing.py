"""Real lesions of a scan taken out of it: their place looks like what is around them, and all else stays."""

import numpy as np
import pytest
from small_anatomy import small_anatomy
from test_simulation_acquisition import NEUTRAL

from lesionwise.simulation.erasing import choose, filled
from lesionwise.simulation.timepoints import LesionPlan, simulate_pair

LESION = np.s_[22:27, 24:29, 20:25]
OTHER = np.s_[28:31, 24:27, 16:19]


def head_with_lesions():
    head = small_anatomy()
    for box in (LESION, OTHER):
        head.flair[box] = 1.6
        head.old_lesions[box] = True
    return head


def test_the_place_of_a_lesion_gets_the_brightness_around_it_and_the_rest_stays():
    head = head_with_lesions()
    lesion = np.zeros_like(head.old_lesions)
    lesion[LESION] = True
    image = filled(head.flair, lesion, head.old_lesions, np.random.default_rng(1))
    np.testing.assert_allclose(image[LESION], 1.0, atol=0.02)  # the white matter around it has no texture
    np.testing.assert_array_equal(image[OTHER], np.float32(1.6))
    assert (image <= head.flair).all()
    assert (image != head.flair).sum() == lesion.sum()


@pytest.mark.parametrize("seed", range(3))
def test_all_lesions_of_a_scan_appear_or_vanish_where_that_is_asked_for(seed):
    head = head_with_lesions()
    real = choose(head, np.random.default_rng(seed), appeared_share=1.0, vanished_share=0.0)
    np.testing.assert_array_equal(real.appeared, head.old_lesions)
    np.testing.assert_array_equal(real.image(real.appeared), head.flair)
    gone = choose(head, np.random.default_rng(seed), appeared_share=0.0, vanished_share=1.0)
    np.testing.assert_array_equal(gone.vanished, head.old_lesions)
    assert not gone.appeared.any()
    np.testing.assert_array_equal(gone.image(gone.appeared), gone.healthy)


def test_nothing_appears_in_an_unchanged_case():
    head = head_with_lesions()
    made = simulate_pair(
        head, np.random.default_rng(2), plan=LesionPlan(2, 0, 0, 3), scans=(NEUTRAL, NEUTRAL)
    )
    assert not made.new_lesions.any()
    assert made.old_lesions[LESION].all()


def test_a_pair_shows_an_appeared_lesion_at_the_second_time_only():
    head = head_with_lesions()
    plan = LesionPlan(0, 1, 0, 0)
    for seed in range(60):
        made = simulate_pair(head, np.random.default_rng(seed), plan=plan, scans=(NEUTRAL, NEUTRAL))
        if made.new_lesions[24, 26, 22] and not made.old_lesions[LESION].any():
            assert made.time1[24, 26, 22] == pytest.approx(1.0, abs=0.05)
            assert made.time2[24, 26, 22] > 1.4
            return
    pytest.fail("in 60 pairs no lesion of the scan appeared")


def test_a_lesion_of_the_scan_that_vanished_is_no_truth():
    head = head_with_lesions()
    plan = LesionPlan(0, 1, 0, 0)
    for seed in range(60):
        made = simulate_pair(head, np.random.default_rng(seed), plan=plan, scans=(NEUTRAL, NEUTRAL))
        if made.time1[24, 26, 22] > 1.4 and made.time2[24, 26, 22] < 1.1:
            assert made.old_lesions[LESION].all()
            assert not made.new_lesions[LESION].any()
            return
    pytest.fail("in 60 pairs no lesion of the scan vanished")
