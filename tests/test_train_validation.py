"""Validation on synthetic cases: what is counted, what is fitted to it, and a scan against itself scanned again."""

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from lesionwise.calibration import LesionConfidence, tempered
from lesionwise.errors import InputError, UsageError
from lesionwise.lesions import OperatingPoint
from lesionwise.simulation.anatomy import Anatomy
from lesionwise.simulation.timepoints import SyntheticPair
from train import calibrate, reacquisition, synthetic_cases, synthetic_validation
from train.calibrate import (
    LOGITS,
    by_confidence,
    fitted_confidence,
    fitted_temperature,
    mean_probability,
)
from train.error_pictures import JudgedCase, write_error_pictures
from train.reacquisition import scanned_again
from train.synthetic_cases import CASES, is_unchanged, kept_cases
from train.synthetic_validation import count_voxels, label, score_case, summary


def cube(shape, start, edge):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(s, s + edge) for s in start)] = True
    return mask


def test_a_third_of_the_cases_is_unchanged():
    assert sum(is_unchanged(number) for number in range(CASES)) * 3 == CASES


def test_a_case_is_made_again_where_a_scan_or_a_shape_has_changed_under_its_name(tmp_path, monkeypatch):
    image, made = np.ones((2, 2, 2), np.float32), []
    case = SyntheticPair(image, image, image > 0, image > 1, image > 1)
    monkeypatch.setattr(synthetic_cases, "make_case", lambda *_a: made.append(1) or case)
    scan, shape = tmp_path / "scan.npz", np.ones((1, 2, 3), bool)
    for content, shapes, count in ((b"a", [], 2), (b"a", [], 2), (b"b", [], 4), (b"b", [shape], 6)):
        scan.write_bytes(content)
        kept = dict(kept_cases(tmp_path / "cases", 2, [scan], shapes))
        assert list(kept) == ["000-unchanged", "001-changed"]
        assert np.array_equal(kept["000-unchanged"].brain, case.brain)
        assert len(made) == count
    kept_cases(tmp_path / "cases", 2, [scan], [shape.transpose(2, 1, 0)]).__next__()
    assert len(made) == 7  # the same voxels in another shape


def test_scores_by_hand():
    shape = (20, 20, 20)
    lesion, false = cube(shape, (3, 3, 3), 3), cube(shape, (12, 12, 12), 2)
    probability = np.float32(0.9) * lesion + np.float32(0.6) * false
    brain = np.ones(shape, bool)
    points = [OperatingPoint(0.5), OperatingPoint(0.8), OperatingPoint(0.5, certainty=0.8)]
    changed = score_case(probability, lesion, brain, points)
    assert changed.measures[label(points[0])] == pytest.approx(
        {"F1_score": 2 / 3, "Dice": 2 * 27 / (27 + 35), "SensL": 1, "PPVL": 0.5}
    )
    for point in points[1:]:
        assert changed.measures[label(point)]["F1_score"] == 1
    assert [(found.volume_mm3, found.confirmed) for found in changed.lesions] == [(27, True), (8, False)]
    assert [sum(counts) for counts in changed.voxels] == [8000 - 27, 27]
    unchanged = score_case(probability * false, np.zeros(shape, bool), brain, points)
    means = summary([changed, unchanged], points[0])
    assert means["F1_score"] == pytest.approx(2 / 3)
    assert (means["false_lesions"], means["false_mm3"]) == (1, 8)


def test_certain_voxels_count_at_the_ends():
    counts = count_voxels(np.array([0, 1, 0.5], np.float32))
    assert (counts[0], counts[-1], sum(counts)) == (1, 1, 3)


def test_the_temperature_of_a_network_that_is_too_sure_is_found():
    true = 1000 / (1 + np.exp(-LOGITS / 2))
    assert fitted_temperature(np.stack([1000 - true, true])) == pytest.approx(2, rel=0.01)


def found_lesion(volume_mm3, probability, confirmed):
    voxels = count_voxels(np.full(int(volume_mm3), probability, np.float32))
    return {"volume_mm3": volume_mm3, "voxels": voxels, "confirmed": confirmed}


def test_the_mean_probability_of_counted_voxels():
    counts = count_voxels(np.array([0.5, 0.9, 0.9], np.float32))
    assert mean_probability(counts, 1.0) == pytest.approx((0.5 + 0.9 + 0.9) / 3, abs=0.01)
    tempered_nine = 1 / (1 + (1 / 9) ** 0.5)  # odds of 9 become 3
    assert tempered_nine == 0.75
    assert mean_probability(counts, 2.0) == pytest.approx((0.5 + 0.75 + 0.75) / 3, abs=0.01)


def test_confidence_follows_what_the_evaluator_confirmed():
    lesions = [
        found_lesion(volume, 0.8, volume > 20 or k == 0)
        for volume in (5.0, 10.0, 40.0, 80.0)
        for k in range(10)
    ]
    confidence = LesionConfidence.of({"lesion_confidence": fitted_confidence(lesions, 1.0)})
    assert confidence(80, 0.8) > 0.9
    assert confidence(5, 0.8) < 0.2


def test_shares_by_confidence_by_hand():
    # A confidence of one half for 10 mm3, four fifths for 40 mm3: 1 / (1 + (10 / v)).
    found = {
        "temperature": 1.0,
        "lesion_confidence": {"intercept": -float(np.log(10)), "per_log_mm3": 1.0, "per_logit": 0.0},
    }
    lesions = [found_lesion(40.0, 0.9, True), found_lesion(10.0, 0.9, False), found_lesion(40.0, 0.9, False)]
    assert by_confidence(lesions, found, groups=2).endswith("0.65 0.50, 0.80 0.00")


def test_confidence_is_right_on_average_for_the_probabilities_that_segment_writes(tmp_path):
    # A network that is too sure: the odds that it states are the square of the true ones.
    rng = np.random.default_rng(1)
    true = rng.uniform(0.05, 0.95, 400)
    stated = true**2 / (true**2 + (1 - true) ** 2)
    confirmed = rng.random(400) < true
    lesions = [found_lesion(20.0, p, bool(is_one)) for p, is_one in zip(stated, confirmed, strict=True)]
    share = 1 / (1 + np.exp(-LOGITS / 2))
    voxels = [(10_000 * (1 - share)).astype(int).tolist(), (10_000 * share).astype(int).tolist()]
    scores, manifest = tmp_path / "scores.json", tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"threshold": 0.5, "certainty": 0.9}))
    of_all = {"measures": {label(OperatingPoint(0.5)): {}}, "lesions": lesions, "voxels": voxels}
    scores.write_text(json.dumps({"case": of_all}))
    result = CliRunner().invoke(calibrate.main, [str(scores), "--manifest", str(manifest)])
    assert result.exit_code == 2
    assert "of threshold 0.5, certainty 0, the manifest states threshold 0.5, certainty 0.9" in result.output
    of_the_stated = {label(OperatingPoint(0.5, 0.9)): {}, label(OperatingPoint(0.5)): {}}
    scores.write_text(json.dumps({"case": of_all | {"measures": of_the_stated}}))
    result = CliRunner().invoke(calibrate.main, [str(scores), "--manifest", str(manifest)])
    assert result.exit_code == 0, result.output
    assert "confidence said, share confirmed" in result.output
    fitted = json.loads(manifest.read_text())
    assert fitted["temperature"] == pytest.approx(2, rel=0.01)
    assert fitted["certainty"] == pytest.approx(0.75, abs=0.001)  # odds of 9 become 3
    confidence = LesionConfidence.of(fitted)
    written = tempered(stated, fitted["temperature"])
    assert np.mean([confidence(20.0, float(p)) for p in written]) == pytest.approx(confirmed.mean(), abs=0.01)


def test_a_network_that_is_not_sure_enough_keeps_an_operating_point_that_can_be_used(tmp_path):
    share = 1 / (1 + np.exp(-LOGITS / 0.3))  # of voxels that are lesion: far more certain than is said
    voxels = [(10_000 * (1 - share)).astype(int).tolist(), (10_000 * share).astype(int).tolist()]
    of_all = {"measures": {label(OperatingPoint(0.5, 0.99)): {}}, "lesions": [], "voxels": voxels}
    scores, manifest = tmp_path / "scores.json", tmp_path / "manifest.json"
    scores.write_text(json.dumps({"case": of_all}))
    manifest.write_text(json.dumps({"threshold": 0.5, "certainty": 0.99}))
    result = CliRunner().invoke(calibrate.main, [str(scores), "--manifest", str(manifest)])
    assert result.exit_code == 0, result.output
    fitted = json.loads(manifest.read_text())
    assert fitted["temperature"] == pytest.approx(0.3, rel=0.02)
    assert 0.999 < fitted["certainty"] < 1


@pytest.mark.parametrize("option", [("--threshold", "20"), ("--certainty", "96"), ("--certainty", "nan")])
@pytest.mark.parametrize(
    ("command", "needed"), [(synthetic_validation, "--cases"), (reacquisition, "--backgrounds")]
)
def test_an_impossible_operating_point_is_refused_for_it_would_find_nothing_false(
    tmp_path, command, needed, option
):
    result = CliRunner().invoke(command.main, [needed, str(tmp_path), *option])
    assert result.exit_code == UsageError.exit_code
    assert f"Invalid value for '{option[0]}'" in result.output


def test_a_place_where_scores_cannot_be_written_is_told_before_anything_is_scored(tmp_path):
    scores = tmp_path / "nowhere" / "scores.json"
    files = ["--cases", str(tmp_path / "cases"), "--json", str(scores)]
    result = CliRunner().invoke(synthetic_validation.main, files)
    assert result.exit_code == InputError.exit_code
    assert f"{scores}: cannot be written" in result.output
    assert not (tmp_path / "cases").exists()


CASE = {"measures": {}, "lesions": [], "voxels": [[1] * len(LOGITS)] * 2}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"case": {"voxels": [[1], [2]], "lesions": []}}'])
def test_scores_that_are_none_are_refused_in_a_line(tmp_path, content):
    (tmp_path / "scores.json").write_text(content)
    result = CliRunner().invoke(calibrate.main, [str(tmp_path / "scores.json")])
    assert result.exit_code == InputError.exit_code
    assert "this holds no scores" in result.output
    assert result.output.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "code"), [("{", 3), ("{}", 3), ('{"threshold": 0.5, "certainty": 0, "temperature": 1.4}', 2)]
)
def test_a_manifest_that_cannot_be_calibrated_stays_as_it_is(tmp_path, content, code):
    (tmp_path / "scores.json").write_text(json.dumps({"case": CASE}))
    (tmp_path / "manifest.json").write_text(content)
    files = [str(tmp_path / "scores.json"), "--manifest", str(tmp_path / "manifest.json")]
    result = CliRunner().invoke(calibrate.main, files)
    assert result.exit_code == code
    assert result.output.count("\n") == 1
    assert (tmp_path / "manifest.json").read_text() == content


def test_a_scan_scanned_again_has_no_truth():
    shape = (24, 24, 24)
    brain = cube(shape, (4, 4, 4), 16)
    flair = np.where(brain, np.linspace(0.3, 1.2, 24, dtype=np.float32)[:, None, None], np.float32(0))
    maps = np.zeros(shape, np.float32)
    anatomy = Anatomy(flair, brain, maps, maps, maps, np.zeros(shape, bool))
    pairs = [scanned_again(anatomy, np.random.default_rng(3)) for _ in range(2)]
    assert not pairs[0].new_lesions.any()
    assert np.array_equal(pairs[0].time2, pairs[1].time2)
    assert not np.array_equal(pairs[0].time1, pairs[0].time2)


def test_a_missed_and_a_false_lesion_are_shown_and_told_of(tmp_path):
    shape = (20, 20, 20)
    missed, false = cube(shape, (3, 3, 3), 3), cube(shape, (12, 12, 12), 2)
    probability = np.float32(0.2) * missed + np.float32(0.6) * false
    scan = np.ones(shape, np.float32)
    affine = np.diag([2.0, 2, 2, 1])
    case = JudgedCase(scan, scan, probability, false, missed, affine, (2.0, 2.0, 2.0))
    write_error_pictures(case, tmp_path, "p1")
    rows = list(csv.reader((tmp_path / "p1_errors.csv").open()))
    assert rows[1:] == [
        ["missed", "216.0", "8.0", "8.0", "8.0", "0.200"],
        ["false", "64.0", "26.0", "26.0", "26.0", "0.600"],
    ]
    assert (tmp_path / "p1_errors.png").read_bytes().startswith(b"\x89PNG")


def test_without_an_error_there_is_no_picture(tmp_path):
    lesion = cube((20, 20, 20), (3, 3, 3), 3)
    scan = np.ones(lesion.shape, np.float32)
    case = JudgedCase(scan, scan, scan * lesion, lesion, lesion, np.eye(4), (1.0, 1.0, 1.0))
    write_error_pictures(case, tmp_path, "p1")
    assert [file.name for file in tmp_path.iterdir()] == ["p1_errors.csv"]


def test_pictures_show_each_scan_by_its_own_brightness_with_the_patients_right_on_the_left(tmp_path):
    shape = (40, 40, 40)
    lesion = cube(shape, (19, 19, 19), 3)
    scan = np.where(np.arange(40)[:, None, None] < 20, 0.2, 1.0) * np.ones(
        shape, np.float32
    )  # the patient's left is dark
    scan[0, 0, 0] = 1.0
    case = JudgedCase(8 * scan, scan, scan * 0, ~lesion & lesion, lesion, np.eye(4), (1.0, 1.0, 1.0))
    write_error_pictures(case, tmp_path, "p1")
    picture = np.asarray(Image.open(tmp_path / "p1_errors.png").convert("L")).astype(float)
    width = picture.shape[1]
    tiles = [picture[picture.shape[0] // 2, k * width // 6 : (k + 1) * width // 6] for k in range(6)]
    for first, second in zip(tiles[::2], tiles[1::2], strict=True):
        assert abs(np.median(first) - np.median(second)) < 25
    in_axial, half = tiles[1][10:-10], len(tiles[1]) // 2
    assert np.median(in_axial[:half]) > np.median(in_axial[half:]) + 50
