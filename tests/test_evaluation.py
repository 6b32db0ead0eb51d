"""The evaluator: values by hand, relations that must hold, and a second, naive implementation."""

import math

import naive_evaluation
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesionwise.errors import UsageError
from lesionwise.evaluation import MEASURES, evaluate_pair, f1_of_rates, lesion_f1, voxel_measures
from lesionwise.overlap import Thresholds, match_lesions
from lesionwise.surfaces import contour, surface_measures

MM = (1.0, 1.0, 1.0)
MODES = ["organisers", "intersection"]


def boxes(*corners, shape=(20, 12, 10)):
    """Return a mask of boxes, each given as ((x, y, z), (x size, y size, z size))."""
    mask = np.zeros(shape, dtype=bool)
    for start, size in corners:
        mask[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))] = True
    return mask


def random_mask(random, shape, boxes_at_most=7, noise=0.03):
    """Return random boxes that touch, overlap and reach the border, and some single voxels."""
    mask = random.random(shape) < random.choice([0, noise])
    for _ in range(random.integers(boxes_at_most)):
        start = random.integers(0, shape)
        mask[tuple(slice(a, a + n) for a, n in zip(start, random.integers(1, 5, 3), strict=True))] = True
    return mask


def random_pair(seed, shape=(7, 8, 6)):
    """Return two masks that share most of their boxes, as a prediction and a truth would."""
    random = np.random.default_rng(seed)
    common = random_mask(random, shape)
    prediction, truth = (common ^ random_mask(random, shape, 3) for _ in range(2))
    return np.roll(prediction, random.integers(-1, 2), axis=random.integers(3)), truth


seeds = st.integers(0, 2**32 - 1)
exact_spacings = st.tuples(*[st.sampled_from([0.5, 0.75, 1.0, 1.5, 3.0])] * 3)


# ---- a second implementation ------------------------------------------------------------------------------------------


@settings(max_examples=150)
@given(
    seeds,
    st.sampled_from([MM, (0.5, 0.5, float(np.float32(1.2))), (0.72, 0.72, 3.0), (0.7, 0.7, 0.7)]),
    st.sampled_from([0.0, 1.0, 3.0, 10.0]),
    st.sampled_from([0.1, 0.3, 0.5]),
    st.sampled_from([0.3, 0.5, 0.7]),
    st.sampled_from([0.3, 0.65, 0.8]),
)
def test_all_measures_agree_with_the_naive_implementation(seed, spacing_mm, minimum, alpha, beta, gamma):
    prediction, truth = random_pair(seed)
    thresholds = Thresholds(minimum, alpha, beta, gamma)
    ours = evaluate_pair(prediction, truth, spacing_mm, thresholds).measures
    naive = naive_evaluation.measures(prediction, truth, spacing_mm, minimum, alpha, beta, gamma)
    assert ours == pytest.approx(naive, abs=1e-9, nan_ok=True)


# ---- relations --------------------------------------------------------------------------------------------------------


@given(st.floats(0, 1), st.floats(0, 1))
def test_f1_is_symmetric_in_its_two_rates_and_between_them(ppvl, sensl):
    f1 = f1_of_rates(ppvl, sensl)
    assert f1 == pytest.approx(f1_of_rates(sensl, ppvl))
    assert f1 == 0 or min(ppvl, sensl) * (1 - 1e-9) <= f1 <= max(ppvl, sensl) * (1 + 1e-9)


@given(seeds, st.sampled_from(MODES))
def test_exchanging_the_masks_exchanges_the_rates_and_keeps_f1(seed, mode):
    prediction, truth = random_pair(seed)
    there = match_lesions(prediction, truth, MM, Thresholds(), mode)
    back = match_lesions(truth, prediction, MM, Thresholds(), mode)
    assert np.array_equal(there.detected, back.confirmed)
    assert np.array_equal(there.confirmed, back.detected)
    assert lesion_f1(prediction, truth, MM, mode=mode) == lesion_f1(truth, prediction, MM, mode=mode)


@given(
    seeds,
    exact_spacings,
    st.permutations(range(3)),
    st.sets(st.integers(0, 2)),
)
def test_flips_and_axis_permutations_change_no_measure(seed, spacing_mm, axes, flipped):
    prediction, truth = random_pair(seed)
    before = evaluate_pair(prediction, truth, spacing_mm).measures
    turned = [np.flip(np.transpose(mask, axes), tuple(flipped)) for mask in (prediction, truth)]
    after = evaluate_pair(*turned, tuple(spacing_mm[axis] for axis in axes)).measures
    # The tool's own variant depends on the order of the voxels; that is its defect.
    assert before.pop("SurfaceDistanceAnima") >= 0 or not truth.any() or not prediction.any()
    after.pop("SurfaceDistanceAnima")
    assert after == pytest.approx(before, abs=1e-9, nan_ok=True)


@given(seeds, st.sampled_from(MODES))
def test_identical_masks_with_a_lesion_above_the_minimum_score_1(seed, mode):
    mask = random_pair(seed)[1]
    mask[:2, :2, :2] = True
    assert lesion_f1(mask, mask, MM, mode=mode) == 1
    measures = evaluate_pair(mask, mask, MM).measures
    assert measures["F1_score"] == measures["Dice"] == 1
    assert measures["HausdorffDistance"] == measures["SurfaceDistance"] == 0


@given(seeds, st.sampled_from(MODES), st.integers(4, 6))
def test_f1_never_rises_when_a_far_false_lesion_is_added(seed, mode, length):
    near = [np.pad(mask, ((0, 10), (0, 0), (0, 0))) for mask in random_pair(seed)]
    prediction, truth = near
    more = prediction.copy()
    more[13, 4, :length] = True
    assert lesion_f1(more, truth, MM, mode=mode) <= lesion_f1(prediction, truth, MM, mode=mode)


@given(seeds)
def test_f1_of_training_is_the_tools_where_the_tool_has_one(seed):
    prediction, truth = random_pair(seed)
    scores = evaluate_pair(prediction, truth, MM)
    if len(scores.lesions.detected) and len(scores.lesions.confirmed):
        assert lesion_f1(prediction, truth, MM) == scores.measures["F1_score"]


# ---- values by hand ---------------------------------------------------------------------------------------------------


def test_the_rates_of_one_detected_one_missed_and_two_false_lesions():
    truth = boxes(((0, 0, 0), (3, 3, 3)), ((8, 0, 0), (3, 3, 3)))
    prediction = boxes(((1, 0, 0), (3, 3, 3)), ((14, 0, 0), (2, 2, 2)), ((14, 6, 0), (2, 2, 2)))
    scores = evaluate_pair(prediction, truth, MM)
    assert (scores.measures["SensL"], scores.measures["PPVL"]) == (1 / 2, 1 / 3)
    assert scores.measures["F1_score"] == pytest.approx(0.4)
    assert scores.lesions.truth_mm3.tolist() == [27, 27]
    assert scores.lesions.detected.tolist() == [True, False]
    assert scores.lesions.predicted_mm3.tolist() == [27, 8, 8]
    assert scores.lesions.confirmed.tolist() == [True, False, False]


def test_one_prediction_over_two_lesions_detects_both_and_counts_once():
    truth = boxes(((0, 0, 0), (4, 4, 4)), ((6, 0, 0), (4, 4, 4)))
    prediction = boxes(((0, 0, 0), (10, 4, 4)))
    lesions = evaluate_pair(prediction, truth, MM).lesions
    assert lesions.detected.tolist() == [True, True]
    assert lesions.confirmed.tolist() == [True]


def test_a_tenth_of_a_lesion_does_not_detect_it_unless_intersection_is_asked():
    truth, prediction = boxes(((0, 0, 0), (10, 5, 2))), boxes(((0, 0, 0), (1, 5, 2)))
    assert lesion_f1(prediction, truth, MM) == 0
    assert lesion_f1(prediction, truth, MM, alpha=0.09, beta=0.9) == 1
    assert lesion_f1(prediction, truth, MM, mode="intersection") == 1


def test_of_equal_overlaps_the_larger_lesion_is_examined_first():
    truth = boxes(((2, 0, 0), (10, 2, 2)))
    clean, dirty = ((2, 0, 0), (3, 2, 2)), ((9, 0, 0), (3, 10, 4))  # 12 voxels shared by each, 108 outside
    half = Thresholds(gamma=0.5)
    assert match_lesions(boxes(clean, dirty), truth, MM, half).detected.tolist() == [False]
    assert match_lesions(boxes(clean), truth, MM, half).detected.tolist() == [True]


def test_what_lies_over_a_dropped_lesion_lies_outside():
    truth = boxes(((0, 0, 0), (3, 1, 1)))
    prediction = boxes(((0, 0, 0), (4, 1, 1)))
    assert lesion_f1(prediction, truth, MM) == 0
    assert lesion_f1(prediction, truth, MM, minimal_volume_mm3=2) == 1
    assert lesion_f1(prediction, truth, MM, mode="intersection") == 0


@pytest.mark.parametrize("mode", MODES)
def test_f1_of_training_without_lesions(mode):
    empty, tiny, lesion = boxes(), boxes(((0, 0, 0), (3, 1, 1))), boxes(((0, 0, 0), (4, 1, 1)))
    assert lesion_f1(empty, empty, MM, mode=mode) == 1
    assert lesion_f1(tiny, empty, MM, mode=mode) == 1
    assert lesion_f1(tiny, tiny, MM, mode=mode) == 1
    assert lesion_f1(lesion, empty, MM, mode=mode) == 0
    assert lesion_f1(empty, lesion, MM, mode=mode) == 0


def test_voxel_measures_by_hand():
    truth, prediction = boxes(((0, 0, 0), (4, 1, 1))), boxes(((1, 0, 0), (5, 1, 1)))
    measures = voxel_measures(prediction, truth)  # 3 voxels shared, 2 too many, 1 missed, 2400 in all
    assert measures == {
        "Jaccard": 3 / 6,
        "Dice": 6 / 9,
        "Sensitivity": 3 / 4,
        "Specificity": 2394 / 2396,
        "PPV": 3 / 5,
        "NPV": 2394 / 2395,
        "RelativeVolumeError": 25.0,
    }


def test_distances_of_two_rods_by_hand():
    # Rods of 4 and 2 voxels of 0.5 mm along x, 2 mm apart along y; all their voxels are contour.
    truth, prediction = boxes(((2, 2, 2), (4, 1, 1))), boxes(((2, 4, 2), (2, 1, 1)))
    measures = surface_measures(prediction, truth, (0.5, 1.0, 1.0))
    to_prediction = [2, 2, math.hypot(2, 0.5), math.hypot(2, 1)]
    assert measures["HausdorffDistance"] == pytest.approx(math.hypot(2, 1))
    assert measures["ContourMeanDistance"] == pytest.approx(sum(to_prediction) / 4)
    assert measures["SurfaceDistance"] == pytest.approx((sum(to_prediction) + 4) / 6)
    assert measures["SurfaceDistanceAnima"] == 2  # every voxel counts with the smallest distance so far


def test_the_farthest_voxel_may_lie_inside():
    truth = boxes(((5, 1, 1), (9, 9, 7)))
    prediction = truth.copy()
    prediction[6:13, 2:9, 2:7] = False  # only the shell: the centre is 3 voxels away from it
    measures = surface_measures(prediction, truth, MM)
    assert measures["HausdorffDistance"] == 3
    assert measures["ContourMeanDistance"] < 1


def test_a_lesion_cut_by_the_border_has_no_contour_there():
    slab = np.zeros((5, 4, 3), dtype=bool)
    slab[:2] = True
    expected = np.zeros_like(slab)
    expected[1] = True
    assert np.array_equal(contour(slab), expected)


# ---- edges ------------------------------------------------------------------------------------------------------------


def test_without_lesions_in_the_truth_only_false_lesions_are_counted():
    prediction = boxes(((0, 0, 0), (4, 1, 1)), ((6, 0, 0), (3, 1, 1)), ((0, 5, 0), (2, 2, 2)))
    scores = evaluate_pair(prediction, boxes(), (1.0, 1.0, 2.0), Thresholds(minimal_volume_mm3=9))
    known = {name: value for name, value in scores.measures.items() if not math.isnan(value)}
    assert known == {"NbTestedLesions": 3, "VolTestedLesions": 30.0}  # 3 mm3 counts, whatever is asked
    assert tuple(scores.measures) == MEASURES
    assert not scores.has_lesions


def test_without_a_prediction():
    measures = evaluate_pair(boxes(), boxes(((0, 0, 0), (4, 1, 1))), MM).measures
    assert (measures["Dice"], measures["Specificity"], measures["RelativeVolumeError"]) == (0, 1, -100)
    assert (measures["PPVL"], measures["SensL"], measures["F1_score"]) == (0, 0, 0)
    assert all(math.isnan(measures[name]) for name in ("PPV", "HausdorffDistance", "SurfaceDistance"))


def test_truth_of_small_lesions_only():
    tiny = boxes(((0, 0, 0), (3, 1, 1)))
    measures = evaluate_pair(tiny, tiny, MM).measures
    assert math.isnan(measures["SensL"])
    assert (measures["PPVL"], measures["F1_score"], measures["Dice"]) == (0, 0, 1)


def test_distances_can_be_left_out():
    mask = boxes(((0, 0, 0), (4, 1, 1)))
    measures = evaluate_pair(mask, mask, MM, surfaces=False).measures
    assert math.isnan(measures["HausdorffDistance"])
    assert measures["F1_score"] == 1


def test_a_full_mask_has_no_surface_and_no_error():
    full = np.ones((4, 4, 4), dtype=bool)
    measures = evaluate_pair(full, full, MM).measures
    assert (measures["Dice"], measures["F1_score"]) == (1, 1)
    assert math.isnan(measures["HausdorffDistance"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"alpha": 0.0},
        {"beta": 1.1},
        {"gamma": math.nan},
        {"minimal_volume_mm3": -1},
        {"minimal_volume_mm3": math.inf},
        {"minimal_volume_mm3": 1e308},
    ],
)
def test_thresholds_that_mean_nothing_are_refused(wrong):
    with pytest.raises(UsageError, match=r"alpha|beta|gamma|minimal volume"):
        Thresholds(**wrong)


def test_masks_of_different_shapes_and_unknown_modes_are_refused():
    with pytest.raises(ValueError, match="shape"):
        lesion_f1(np.zeros((4, 4, 4), dtype=bool), np.zeros((4, 4, 5), dtype=bool), MM)
    with pytest.raises(ValueError, match="mode"):
        lesion_f1(boxes(), boxes(), MM, mode="exact")
