"""Pairs: the truth is what is new, lies where it is drawn, and nothing else is."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from small_anatomy import SHAPE, small_anatomy
from test_simulation_acquisition import NEUTRAL

from lesionwise.simulation import places
from lesionwise.simulation.lesions import SyntheticLesion
from lesionwise.simulation.timepoints import (
    LesionPlan,
    _outlined,
    _seen_from_the_second,
    random_scans,
    simulate_pair,
    surroundings,
)

SAME_SCAN = (NEUTRAL, NEUTRAL)


def pair(seed=1, stable=0, new=0, vanished=0, distractors=0, grown=0, scans=None, **options):
    plan = LesionPlan(stable, new, vanished, distractors, grown=grown)
    return simulate_pair(small_anatomy(), np.random.default_rng(seed), plan=plan, scans=scans, **options)


def test_equal_seeds_make_equal_pairs_and_others_do_not():
    first, again, other = (pair(seed, stable=2, new=3, vanished=1, distractors=2) for seed in (5, 5, 6))
    for name, array in vars(first).items():
        np.testing.assert_array_equal(array, getattr(again, name), err_msg=name)
    assert (first.time1 != other.time1).any()


def test_arrays_share_the_grid_and_their_types():
    made = pair(new=2)
    assert {array.shape for array in vars(made).values()} == {SHAPE}
    assert made.time1.dtype == made.time2.dtype == np.float32
    assert made.new_lesions.dtype == made.brain.dtype == made.old_lesions.dtype == np.bool_


@pytest.mark.parametrize("seed", range(4))
def test_no_new_lesion_in_the_plan_is_an_empty_truth_whatever_else_changes(seed):
    made = pair(seed, stable=4, new=0, vanished=3, distractors=5)
    assert not made.new_lesions.any()
    assert made.old_lesions.any()


@pytest.mark.parametrize("seed", range(4))
def test_new_lesions_are_brighter_at_time_2_and_lie_in_the_brain(seed):
    made = pair(seed, new=6, scans=SAME_SCAN)
    assert made.new_lesions.any()
    assert not (made.new_lesions & ~made.brain).any()
    rise = made.time2 - made.time1
    assert np.median(rise[made.new_lesions]) > 0.1
    assert (rise > -1e-3).all()  # nothing vanished
    assert np.abs(rise[ndimage.binary_dilation(made.new_lesions, iterations=9) == 0]).max() < 0.05


@pytest.mark.parametrize("seed", range(4))
def test_of_a_lesion_that_grew_what_was_not_there_is_truth(seed):
    made = pair(seed, grown=10, scans=SAME_SCAN)
    assert made.old_lesions.any()
    assert made.new_lesions.any()
    assert not (made.new_lesions & made.old_lesions).any()
    assert (made.new_lesions & ndimage.binary_dilation(made.old_lesions)).any()
    assert (made.time2 - made.time1)[made.new_lesions].mean() > 0.1


def test_a_lesion_grows_by_a_shell_and_gets_brighter():
    cube = np.zeros((13, 13, 13), np.float32)
    cube[3:10, 3:10, 3:10] = 1
    lesion = SyntheticLesion((slice(0, 13),) * 3, cube, brightness=1.5)
    rng = np.random.default_rng(0)
    for was in [places._as_it_was(lesion, rng) for _ in range(20)]:
        assert was.fraction.sum() in (5**3, 3**3)
        assert 1.2 <= was.brightness <= 1.5


@pytest.mark.parametrize("seed", range(4))
def test_what_is_too_faint_to_be_truth_is_not_in_the_image(seed):
    made = pair(seed, new=12, scans=SAME_SCAN)
    rise = made.time2 - made.time1
    labels, count = ndimage.label(rise > 0.06)
    spots = [rise[labels == number] for number in range(1, count + 1)]
    lesions = [spot for spot in spots if spot.size > 8]  # smaller ones are bits of an edge
    assert all(lesion.max() > 0.12 for lesion in lesions)


def test_vanished_lesions_are_darker_at_time_2_and_not_truth():
    made = pair(2, vanished=5, scans=SAME_SCAN)
    assert np.median((made.time2 - made.time1)[made.old_lesions]) < -0.1
    assert not made.new_lesions.any()


def test_stable_lesions_are_bright_at_both_times():
    made = pair(3, stable=5, scans=SAME_SCAN)
    for time in (made.time1, made.time2):
        assert np.median(time[made.old_lesions]) > 1.15
    assert not made.new_lesions.any()


@pytest.mark.parametrize("seed", range(4))
def test_what_was_lesion_before_is_no_truth_but_for_voxels_at_its_edge(seed):
    made = pair(seed, stable=8, new=8, vanished=4, scans=SAME_SCAN)
    drawn_over = made.old_lesions & ndimage.binary_dilation(made.new_lesions)
    assert drawn_over.any()  # some new lesions touch old ones
    assert not (made.new_lesions & ndimage.binary_erosion(made.old_lesions)).any()


def test_lesions_of_the_scan_itself_stay_old_where_none_is_to_appear():
    head = small_anatomy()
    head.old_lesions[20:26, 22:28, 18:24] = True
    plan = LesionPlan(0, 0, 0, 0, grown=12)
    made = simulate_pair(head, np.random.default_rng(4), plan=plan, scans=SAME_SCAN)
    assert made.new_lesions.any()
    assert (made.old_lesions >= head.old_lesions).all()
    assert not (made.new_lesions & head.old_lesions).any()


def test_what_one_scan_did_not_look_at_is_neither_brain_nor_truth():
    blind = 24
    made = pair(6, new=12, scans=(NEUTRAL, replace(NEUTRAL, missing_voxels=blind)))
    whole = pair(6, new=12, scans=SAME_SCAN)
    assert whole.new_lesions[:, :, :blind].any()
    assert not made.new_lesions[:, :, :blind].any()
    assert not made.brain[:, :, :blind].any()
    assert made.new_lesions[:, :, blind:].any()


def test_the_anatomy_is_not_changed():
    head = small_anatomy()
    simulate_pair(head, np.random.default_rng(5), plan=LesionPlan(3, 3, 3, 3))
    for name, array in vars(small_anatomy()).items():
        np.testing.assert_array_equal(getattr(head, name), array, err_msg=name)


def test_every_component_of_the_truth_is_a_lesion_for_the_evaluator():
    sizes = [
        size
        for seed in range(6)
        for size in np.bincount(ndimage.label(pair(seed, new=9).new_lesions)[0].ravel())[1:]
    ]
    assert min(sizes) > 3


def test_a_registration_error_moves_the_first_scan_and_the_truth_stays_on_the_second():
    moved = replace(NEUTRAL, shift_mm=(1.0, 0.0, 0.0))
    still = pair(6, new=8, scans=SAME_SCAN)
    apart = pair(6, new=8, scans=_seen_from_the_second(NEUTRAL, moved))
    np.testing.assert_array_equal(apart.time2, still.time2)
    np.testing.assert_array_equal(apart.new_lesions, still.new_lesions)
    inner = np.s_[4:-4, 4:-4, 4:-4]
    np.testing.assert_allclose(apart.time1[inner], np.roll(still.time1, 1, axis=0)[inner], atol=1e-5)


def test_both_scans_registration_errors_add_up():
    first, second = (
        replace(NEUTRAL, shift_mm=(x, 0.0, 0.0), elastic_mm=mm) for x, mm in ((0.3, 3), (-0.5, 4))
    )
    moved, fixed = _seen_from_the_second(first, second)
    assert moved.shift_mm == pytest.approx((0.8, 0, 0))
    assert moved.elastic_mm == 5
    assert fixed == NEUTRAL


def test_the_second_scan_is_drawn_without_a_registration_error():
    first, second = random_scans(np.random.default_rng(1))
    assert min(map(abs, first.shift_mm)) > 0
    assert second.shift_mm == second.turn_rad == (0, 0, 0)
    assert second.elastic_mm == 0


def test_where_the_second_scan_lost_its_signal_no_lesion_is_truth():
    dark = replace(NEUTRAL, dropout=0.95, dropout_centre=(0.5, 0.5, 0.5), dropout_size_mm=(500.0,) * 3)
    assert pair(6, new=8, scans=SAME_SCAN).new_lesions.any()
    assert not pair(6, new=8, scans=(NEUTRAL, dark)).new_lesions.any()
    assert pair(6, new=8, scans=(dark, NEUTRAL)).new_lesions.any()


@pytest.fixture
def drawn_from(monkeypatch):
    """Return the list of real shapes that lesions were made from; they are cubes of 0.77 then, to be told from blobs."""
    used = []

    def cube(rng, shape, volume_mm3):
        used.append(shape)
        return np.full((5, 5, 5), 0.77, dtype=np.float32)

    monkeypatch.setattr(places, "from_shape", cube)
    return used


def test_of_the_lesions_that_are_no_rims_35_percent_have_real_shapes_where_there_are_some(drawn_from):
    shapes = [np.ones((3, 9, 3), dtype=bool), np.ones((4, 4, 4), dtype=bool)]
    rng = np.random.default_rng(7)
    where = places.Places(small_anatomy(), rng, rim_share=0.0)
    lesions = where.draw(300, shapes, rng, median_mm3=20.0)
    assert sum((lesion.fraction == np.float32(0.77)).all() for lesion in lesions) == len(drawn_from)
    # Within three standard deviations of 300 draws, and of half of the 105 for each shape.
    assert len(drawn_from) / len(lesions) == pytest.approx(0.35, abs=0.08)
    counts = [sum(used is shape for used in drawn_from) for shape in shapes]
    assert sum(counts) == len(drawn_from)
    assert min(counts) > 0.35 * len(drawn_from)
    drawn_from.clear()
    where.draw(30, [], rng, median_mm3=20.0)
    assert not drawn_from


@pytest.mark.parametrize("kind", ["stable", "new", "vanished", "grown"])
def test_lesions_of_every_kind_have_real_shapes(kind, drawn_from):
    pair(7, **{kind: 12}, shapes=[np.ones((3, 9, 3), dtype=bool)], scans=SAME_SCAN)
    assert drawn_from


def test_the_found_brain_is_near_the_true_one_and_not_exact():
    brain = small_anatomy().brain
    overlaps = []
    for seed in range(5):
        found = pair(seed, scans=SAME_SCAN).brain  # both saw all of it
        overlaps.append(2 * (found & brain).sum() / (found.sum() + brain.sum()))
    assert 0.85 < min(overlaps) < max(overlaps) < 1


def test_the_share_of_unchanged_cases_is_as_asked():
    rng = np.random.default_rng(9)
    plans = [LesionPlan.random(rng, unchanged_share=0.3) for _ in range(1000)]
    assert np.mean([plan.new == 0 for plan in plans]) == pytest.approx(0.3, abs=0.05)
    assert all(plan.vanished == 0 for plan in plans if plan.new == 0)
    assert all(LesionPlan.random(rng, unchanged_share=0.0).new > 0 for _ in range(200))


@pytest.mark.parametrize(("share", "equal"), [(0.0, False), (1.0, True)])
def test_the_protocol_is_shared_as_asked(share, equal):
    rng = np.random.default_rng(10)
    scans = [random_scans(rng, share) for _ in range(30)]
    assert all((a.in_plane_fwhm_mm == b.in_plane_fwhm_mm) == equal for a, b in scans)


def test_a_lesion_beside_dark_fluid_is_outlined_as_a_whole():
    # A cube of lesion, of it over fluid at 0.3 (they rise by 1.2), half over white matter at 1 (by 0.5).
    fraction, rise = np.zeros((16, 16, 16), np.float32), np.zeros((16, 16, 16), np.float32)
    fraction[4:12, 4:12, 4:12] = 1
    rise[4:8, 4:12, 4:12], rise[8:12, 4:12, 4:12] = 1.2, 0.5
    sharp = replace(NEUTRAL, in_plane_fwhm_mm=0.0)
    np.testing.assert_array_equal(_outlined(fraction, rise, sharp), fraction == 1)


def test_a_lesion_too_faint_to_see_is_not_outlined():
    fraction = np.zeros((16, 16, 16), np.float32)
    fraction[4:12, 4:12, 4:12] = 1
    assert not _outlined(fraction, 0.08 * fraction, NEUTRAL).any()


def test_specks_are_seen_at_both_times_and_are_no_truth():
    plan = LesionPlan(0, 0, 0, 0, specks=20)
    made = simulate_pair(small_anatomy(), np.random.default_rng(3), plan=plan, scans=SAME_SCAN)
    plain = pair(seed=3, scans=SAME_SCAN)
    assert not made.new_lesions.any()
    for time in ("time1", "time2"):
        assert (getattr(made, time) > getattr(plain, time) + 0.1).any()


def test_surroundings_are_the_healthy_tissue_and_white_matter_at_most():
    image = np.full((40, 40, 40), 0.85, np.float32)
    image[20:] = 1.1
    image[:, :, 20:24] = 1.9  # an old lesion
    image[:, 20:24] = 0.2  # fluid
    found = surroundings(image)
    assert found.shape == image.shape
    np.testing.assert_allclose(found[2, 2, 2], 0.85, atol=0.01)
    np.testing.assert_allclose(found[38, 38, 38], 1.0)
    np.testing.assert_allclose(found[2, 22, 22], 0.85, atol=0.01)
    np.testing.assert_allclose(surroundings(np.zeros((9, 9, 9), np.float32)), 1.0)
