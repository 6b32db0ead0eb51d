"""Mask pairs for the metric network: their F1 is the evaluator's, and its distribution is balanced."""

from itertools import islice

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from small_training import BallPatches, six_patients

from lesionwise.errors import InputError, UsageError
from lesionwise.evaluation import lesion_f1
from train.held_out import NO_PATIENTS, HeldOut
from train.metric_network import record_outputs
from train.metric_network.__main__ import main
from train.metric_network.corruptions import Shapes, random_boxes
from train.metric_network.mask_pairs import MaskPairs, PairSettings, balanced_group
from train.metric_network.network_outputs import THRESHOLDS, NetworkOutputs, held_out_of
from train.metric_network.placed_lesions import (
    Placed,
    bridge,
    grown,
    lesions_of,
    paint,
    shifted,
    shrunk,
    split,
)
from train.metric_network.softening import Softening, draw_softening, soften
from train.metric_network.targets import SPACING_MM, bin_of, lesion_counts, patch_f1
from train.patches import PatchSettings

SETTINGS = PairSettings(size=24, batch=4)


def cube(start, size=4):
    return Placed(np.ones((size,) * 3, dtype=bool), start)


@pytest.fixture(scope="module")
def group():
    rng = np.random.default_rng(1)
    return balanced_group(SETTINGS, Shapes(random_boxes(rng, 50)), None, rng)


def test_every_bin_holds_a_tenth(group):
    assert np.bincount(bin_of([pair.f1 for pair in group]), minlength=10).tolist() == [4] * 10


def test_exact_0_and_1_fill_at_most_half_of_their_bins(group):
    f1 = np.array([pair.f1 for pair in group])
    assert np.count_nonzero(f1 == 0) == 2
    assert np.count_nonzero(f1 == 1) == 2


def test_f1_is_the_evaluators(group):
    for pair in group:
        assert pair.f1 == lesion_f1(pair.prediction, pair.truth, SPACING_MM)


def test_network_inputs_keep_the_f1_of_their_mask():
    prediction, truth, f1, _ = next(iter(MaskPairs(SETTINGS, seed=3)))
    assert prediction.shape == truth.shape == (4, 24, 24, 24)
    assert prediction.dtype == truth.dtype == f1.dtype == torch.float32
    assert prediction.min() >= 0
    assert prediction.max() <= 1
    for p, t, value in zip(prediction, truth, f1, strict=True):
        assert patch_f1((p > 0.5).numpy(), (t > 0.5).numpy()) == pytest.approx(float(value), abs=1e-6)


def test_stream_goes_on_where_it_was_left():
    settings = PairSettings(size=24, batch=2)
    whole = list(islice(MaskPairs(settings, seed=3), 12))
    rest = list(islice(MaskPairs(settings, seed=3, batches_done=9), 3))
    for one, other in zip(whole[9:], rest, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    "stream", [MaskPairs(SETTINGS, 3), BallPatches(PatchSettings(16, 2, pairs_in_block=1), 3)]
)
def test_a_stream_without_loader_processes_leaves_the_network_its_threads(stream):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        next(iter(stream))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_pair_used_again_is_turned_and_keeps_its_f1():
    settings = PairSettings(size=24, batch=2, uses=2)
    batches = list(islice(MaskPairs(settings, seed=3), 20))
    first, second = (
        sorted(float(f1) for batch in half for f1 in batch[2]) for half in (batches[:10], batches[10:])
    )
    assert first == second
    for prediction, truth, f1, _ in batches[10:]:
        for p, t, value in zip(prediction, truth, f1, strict=True):
            assert patch_f1((p > 0.5).numpy(), (t > 0.5).numpy()) == pytest.approx(float(value), abs=1e-6)


def test_counts_by_hand():
    # Cells of 8: one lesion found in the first, one missed on the border of two, a false one in the last.
    truth = paint([cube((2, 2, 2)), cube((6, 18, 2))], 24)
    prediction = paint([cube((2, 2, 2)), cube((18, 18, 18))], 24)
    found, missed, right, wrong = lesion_counts(prediction, truth)
    assert found[0, 0, 0] == right[0, 0, 0] == 1
    assert missed[0, 2, 0] == missed[1, 2, 0] == 0.5
    assert wrong[2, 2, 2] == 1
    assert [float(kind.sum()) for kind in (found, missed, right, wrong)] == [1, 1, 1, 1]


def test_counts_make_the_f1(group):
    for pair in group:
        found, missed, right, wrong = lesion_counts(pair.prediction, pair.truth).sum((1, 2, 3), dtype=float)
        if found + missed and right + wrong:
            s, p = found / (found + missed), right / (right + wrong)
            assert pair.f1 == pytest.approx(2 * s * p / (s + p) if s + p else 0, abs=1e-4)


def test_patches_too_small_for_many_lesions_are_refused():
    with pytest.raises(ValueError, match="16"):
        PairSettings(size=16)


@pytest.mark.parametrize(
    ("f1", "expected"),
    [(0.0, 0), (0.099, 0), (0.1, 1), (np.float32(0.7), 7), (0.3, 3), (0.999, 9), (1.0, 9)],
)
def test_bins(f1, expected):
    assert bin_of(f1) == expected


def test_patch_f1_by_hand():
    truth = paint([cube((2, 2, 2)), cube((12, 12, 12))], 24)
    assert patch_f1(truth, truth) == 1
    # One of two found, and no false one: sensitivity 1/2, precision 1.
    assert patch_f1(paint([cube((2, 2, 2))], 24), truth) == pytest.approx(2 / 3)
    empty = np.zeros_like(truth)
    assert patch_f1(empty, empty) == 1
    assert patch_f1(truth, empty) == patch_f1(empty, truth) == 0


def test_definitions_differ_where_the_overlap_is_small():
    truth = paint([cube((2, 2, 2))], 24)
    prediction = paint([cube((5, 5, 5))], 24)  # they share 1 of 64 voxels
    assert patch_f1(prediction, truth, "organisers") == 0
    assert patch_f1(prediction, truth, "intersection") == 1


def test_a_lesion_cut_by_the_border_counts_by_what_is_left():
    left = paint([cube((-3, 4, 4))], 24)  # one layer of 16 voxels
    assert patch_f1(left, left) == 1
    speck = np.zeros_like(left)
    speck[0, 4, 4:7] = True  # 3 mm3: no lesion, in either mask
    assert patch_f1(speck, np.zeros_like(speck)) == 1


def test_operations_on_lesions_by_voxels():
    lesion = cube((4, 4, 4), size=5)
    assert paint([lesion], 16).sum() == 125
    assert paint([shifted(lesion, (1, 0, -2))], 16)[5:10, 4:9, 2:7].all()
    assert paint([shifted(lesion, (-6, 0, 0))], 16).sum() == 3 * 25
    assert paint([grown(lesion, 1)], 16).sum() == 125 + 6 * 25
    assert paint([shrunk(lesion, 1)], 16).sum() == 27
    assert shrunk(lesion, 3) is lesion
    halves = lesions_of(paint([split(lesion, 0, 1)], 16))
    assert [half.mask.sum() for half in halves] == [50, 50]


def test_a_bridge_joins_two_lesions():
    first, second = cube((1, 1, 1)), cube((14, 10, 6))
    assert len(lesions_of(paint([first, second], 24))) == 2
    assert len(lesions_of(paint([first, second, bridge(first, second)], 24))) == 1


@pytest.mark.parametrize("seed", range(5))
def test_softening_moves_no_voxel_across_the_threshold(seed):
    rng = np.random.default_rng(seed)
    mask = paint([cube((2, 2, 2)), cube((12, 12, 12), size=2)], 24)
    faint = paint([cube((2, 14, 2))], 24)
    soft = soften(mask, faint, draw_softening(rng))
    assert np.array_equal(soft > 0.5, mask)
    assert len(np.unique(soft)) > 20
    assert soft[3, 15, 3] > soft[20, 2, 20]


def test_softening_is_a_function_of_its_parameters():
    mask = paint([cube((2, 2, 2))], 24)
    softening = Softening(0.7, 1.1, 0.05, 0.01, 0.3, seed=4)
    assert np.array_equal(soften(mask, mask, softening), soften(mask, mask, softening))


def outputs_of_two(is_held_out=False):
    truth = paint([cube((2, 2, 2)), cube((12, 12, 12))], 24)
    probability = np.where(paint([cube((2, 2, 2))], 24), 0.8, 0.02) + 0.2 * paint([cube((12, 12, 12))], 24)
    return NetworkOutputs.of(
        np.stack([probability, np.zeros_like(probability)]).astype(np.float32),
        np.stack([truth, ~truth & False]),
        is_held_out=is_held_out,
    )


def test_f1_of_network_outputs_by_threshold():
    outputs = outputs_of_two()
    # Above 0.1 both lesions are found, up to 0.7 one of two, above 0.9 none; nothing predicted and nothing true is 1.
    assert outputs.f1[0].tolist() == pytest.approx([1, 2 / 3, 2 / 3, 2 / 3, 0])
    assert outputs.f1[1].tolist() == [1] * 5


def test_moving_the_threshold_keeps_the_pairs_f1():
    outputs = outputs_of_two()
    for number in range(len(THRESHOLDS)):
        probability, truth, f1 = outputs.pair(0, number)
        assert patch_f1(probability > 0.5, truth) == pytest.approx(f1)
    assert np.array_equal(outputs.pair(0, 2)[0] > 0.5, outputs.levels[0] > 125)


def test_outputs_are_held_out_as_they_were_recorded_and_none_is_in_both_parts(tmp_path):
    training, held_out = outputs_of_two(), outputs_of_two(is_held_out=True)
    file = tmp_path / "outputs.npz"
    NetworkOutputs.joined([training, held_out, held_out]).save(file)
    again = NetworkOutputs.load(file, 24, "organisers")
    for is_held_out, count in ((False, 2), (True, 4)):
        part = again.part(is_held_out)
        assert len(part.f1) == len(part.levels) == len(part.truths) == count
        assert (part.held_out == is_held_out).all()


class MarkedSources:
    """One class of patches for training, empty truths; another that is held out, full ones."""

    def patches(self, _settings, count, _seed):
        return torch.zeros(count, 2, 24, 24, 24), torch.zeros(count, 24, 24, 24)

    def held_out(self, _settings, count, _seed):
        return torch.zeros(count, 2, 24, 24, 24), torch.ones(count, 24, 24, 24)


def test_recorded_outputs_are_held_out_with_the_pairs_that_they_are_from(tmp_path, monkeypatch):
    monkeypatch.setattr(record_outputs, "open_sources", lambda **_source: MarkedSources())
    monkeypatch.setattr(record_outputs, "load_network", lambda _file: None)
    monkeypatch.setattr(record_outputs, "held_out_of", lambda _file: NO_PATIENTS)
    monkeypatch.setattr(record_outputs, "predict", lambda _network, images: images[:, 0])
    files = ["--checkpoint", str(tmp_path), "--output", str(tmp_path / "outputs.npz")]
    chosen = [*files, "--patches", "10", "--patch", "24"]
    CliRunner().invoke(record_outputs.main, chosen, catch_exceptions=False)
    recorded = NetworkOutputs.load(tmp_path / "outputs.npz", 24, "organisers")
    assert (
        recorded.truths.all(axis=(1, 2, 3)).tolist() == recorded.held_out.tolist() == [False] * 8 + [True] * 2
    )


def test_a_metric_network_learns_from_no_outputs_that_hold_the_truths_of_its_held_out_patients(tmp_path):
    file, other = tmp_path / "outputs.npz", HeldOut(("patient0", "patient5"), ("patient1", "patient2"))
    outputs_of_two().save(file, other)
    assert held_out_of(file) == other
    data = ["--data", str(six_patients(tmp_path)), "--fold", "1", "--network-outputs", str(file)]
    result = CliRunner().invoke(main, ["--output", str(tmp_path / "run"), "--patch", "24", *data])
    assert result.exit_code == UsageError.exit_code
    assert "outputs.npz: it was made with patient1, which this run holds out" in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("lacking", ["held_out", "definition"])
def test_outputs_that_do_not_say_what_they_are_are_refused(tmp_path, lacking):
    outputs_of_two().save(tmp_path / "outputs.npz")
    with np.load(tmp_path / "outputs.npz") as arrays:
        np.savez(tmp_path / "old.npz", **{name: arrays[name] for name in arrays if name != lacking})
    with pytest.raises(InputError, match=r"old\.npz.*record_outputs"):
        NetworkOutputs.load(tmp_path / "old.npz", 24, "organisers")


@pytest.mark.parametrize("length", [0, 100, -1])
def test_torn_outputs_are_refused(tmp_path, length):
    file = tmp_path / "outputs.npz"
    outputs_of_two().save(file)
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(InputError, match=r"outputs\.npz.*record_outputs"):
        NetworkOutputs.load(file, 24, "organisers")


@pytest.mark.parametrize(
    ("size", "definition", "told"),
    [(32, "organisers", "patches of 24, not 32"), (24, "intersection", "organisers, not intersection")],
)
def test_outputs_of_other_patches_or_another_f1_are_refused(tmp_path, size, definition, told):
    outputs_of_two().save(tmp_path / "outputs.npz")
    with pytest.raises(InputError, match=told):
        NetworkOutputs.load(tmp_path / "outputs.npz", size, definition)


def test_network_outputs_are_used_where_they_fit_the_bin(tmp_path):
    file = tmp_path / "outputs.npz"
    outputs_of_two().save(file)
    rng = np.random.default_rng(1)
    pairs = balanced_group(
        PairSettings(24, 4, network_share=1.0),
        Shapes(random_boxes(rng, 50)),
        NetworkOutputs.load(file, 24, "organisers"),
        rng,
    )
    # They have an F1 of 0, 2/3 and 1 only; the other bins are left to simulated pairs.
    by_network = {round(pair.f1, 6) for pair in pairs if pair.probability is not None}
    assert 0.666667 in by_network
    assert by_network <= {0, 0.666667, 1}
    assert np.bincount(bin_of([pair.f1 for pair in pairs]), minlength=10).tolist() == [4] * 10
