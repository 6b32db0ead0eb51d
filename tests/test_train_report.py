"""What is written about trainings: the metric network's report, the gradient check, the ablation."""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from scipy import ndimage

from lesionwise.errors import UsageError
from lesionwise.simulation.timepoints import SyntheticPair
from train import ablation, ablation_report, gradient_check
from train.ablation_cases import block
from train.gradient_check import ERRORS, Patch, follow, held_out_patches, patches_with_errors, table
from train.metric_network import report
from train.metric_network.corruptions import Shapes, random_boxes
from train.metric_network.files import save_metric_network
from train.metric_network.network import MetricNetwork
from train.metric_network.network_outputs import NetworkOutputs
from train.metric_network.placed_lesions import Placed, lesions_of, paint
from train.metric_network.report import accuracy, correlation, patch_edge, write_report
from train.metric_network.targets import patch_f1
from train.segmentation.losses import dice_loss
from train.segmentation.options import Options


def test_accuracy_by_hand():
    f1, estimates = np.array([0.05, 0.55, 0.95, 0.97]), np.array([0.15, 0.55, 0.65, 0.97])
    result = accuracy(estimates, f1)
    assert result.mae == pytest.approx((0.1 + 0 + 0.3 + 0) / 4)
    assert result.rmse == pytest.approx(np.sqrt((0.01 + 0.09) / 4))
    assert result.pearson == pytest.approx(np.corrcoef(f1, estimates)[0, 1])
    assert result.spearman == 1  # the order is kept
    assert result.bin_count == (1, 0, 0, 0, 0, 1, 0, 0, 0, 2)
    assert result.bin_mae[0] == pytest.approx(0.1)
    assert result.bin_mae[9] == pytest.approx(0.15)
    assert np.isnan(result.bin_mae[1])


def test_a_constant_estimate_correlates_with_nothing():
    assert correlation(np.full(3, 0.5), np.array([0.1, 0.5, 0.9])) == 0


def test_report_has_a_table_and_a_picture(tmp_path):
    f1 = np.linspace(0, 1, 40)
    write_report({"hard masks": (f1, f1), "soft maps": (1 - f1, f1)}, tmp_path, "A network")
    text = (tmp_path / "report.md").read_text()
    assert "| Pearson | 1.0000 | -1.0000 |" in text
    assert "| MAE, F1 0.9 to 1.0 | 0.0000 (4) |" in text
    assert (tmp_path / "calibration.png").read_bytes().startswith(b"\x89PNG")


def lesion(start, size=4):
    return Placed(np.ones((size,) * 3, dtype=bool), start)


@pytest.fixture
def missed():
    """A patch of which one of two lesions is missed, faintly seen."""
    truth = paint([lesion((2, 2, 2)), lesion((12, 12, 12))], 24)
    faint = paint([lesion((12, 12, 12))], 24)
    probabilities = np.where(faint, 0.3, np.where(truth, 0.9, 0.05)).astype(np.float32)
    return Patch(probabilities, truth, "missed")


def test_dice_finds_the_missed_lesion(missed):
    outcome = follow(dice_loss, missed)
    assert outcome.f1_before == pytest.approx(2 / 3)
    assert outcome.f1_after == 1
    assert outcome.loss_after < outcome.loss_before
    assert 0 < outcome.steps <= 50


def test_a_loss_that_is_fooled_shows_in_the_table(missed):
    def brighter_is_better(probabilities, _truth):
        return 1 - probabilities.mean()

    outcomes = [follow(brighter_is_better, missed), follow(dice_loss, missed)]
    assert outcomes[0].f1_after < outcomes[0].f1_before
    assert "| both | 2 | 0.667 | 0.500 | 50.0% | 50.0% | 50.0% |" in table({"both": outcomes})


def test_a_loss_without_a_gradient_moves_nothing(missed):
    outcome = follow(lambda p, _t: (p * 0).sum() + 1, missed)
    assert outcome.f1_after == outcome.f1_before
    assert outcome.steps == 0


def test_patches_with_errors_hold_each_kind_in_turn():
    boxes = random_boxes(np.random.default_rng(0), 30)
    patches = patches_with_errors(30, 24, Shapes(boxes), seed=1)
    assert [patch.error for patch in patches] == [*ERRORS] * 10
    for patch in patches:
        predicted = patch.probabilities > 0.5
        assert patch_f1(predicted, patch.truth) < 1
        if patch.error == "missed":
            assert not (predicted & ~patch.truth).any()
        else:  # a false lesion, or a bar between true ones
            assert predicted[patch.truth].all()
            assert (predicted & ~patch.truth).any()
        if patch.error == "merged":
            assert ndimage.label(predicted)[1] < ndimage.label(patch.truth)[1]


@pytest.mark.parametrize("seed", range(5))
def test_what_is_made_wrong_of_two_lesions_by_hand(seed, monkeypatch):
    # So small (16 voxels) that they are less than 30 % of what the bar makes of them: it counts as neither.
    two = [lesion((2, 2, 2), 2), lesion((12, 12, 12), 2)]
    monkeypatch.setattr(gradient_check, "random_truth", lambda *_arguments: two)
    patches = patches_with_errors(3, 24, Shapes([np.ones((3, 3, 3), dtype=bool)]), seed)
    made = {patch.error: patch.probabilities > 0.5 for patch in patches}
    assert any(np.array_equal(made["missed"], paint([one], 24)) for one in two)
    false = made["false"] & ~paint(two, 24)
    assert 0 < false.sum() <= 27  # voxels of one cube, which may lie over the border or a lesion
    assert len(lesions_of(made["merged"])) == 1


def test_the_gradient_check_sees_held_out_shapes_and_outputs_only(monkeypatch):
    seen = []
    monkeypatch.setattr(
        gradient_check,
        "random_boxes",
        lambda _rng, _count, real: seen.extend(real) or [np.ones((3, 3, 3), bool)],
    )
    shapes = [np.ones((k, k, k), bool) for k in range(1, 7)]
    assert len(held_out_patches(1, 24, shapes, None, seed=1)) == 1
    assert seen == [shapes[0], shapes[5]]
    nothing = np.zeros((1, 24, 24, 24), dtype=np.float32)
    truths = [paint([lesion((2, 2, 2), size)], 24)[None] for size in (4, 5)]
    parts = [NetworkOutputs.of(nothing, truth, is_held_out=k == 1) for k, truth in enumerate(truths)]
    patches = held_out_patches(9, 24, shapes, NetworkOutputs.joined(parts), seed=1)
    assert [int(patch.truth.sum()) for patch in patches] == [125]


def test_the_gradient_check_looks_at_all_stages_of_a_network():
    sizes = range(2, 14)
    truths = np.stack(
        [paint([lesion((2, 2, 2), size)], 24) for size in sizes]
    )  # the latest stage has the largest
    outputs = NetworkOutputs.of(np.zeros(truths.shape, np.float32), truths, is_held_out=True)
    for seed in (1, 2):
        seen = [int(patch.truth.sum()) for patch in held_out_patches(6, 24, [], outputs, seed=seed)]
        assert len(set(seen)) == 6
        assert max(seen) > 7**3


@pytest.fixture
def compact(tmp_path):
    """Return the folder of a metric network of patches of 24 that was never trained."""
    network = MetricNetwork("compact", 24, width=4)
    save_metric_network(tmp_path, network, network.state_dict(), step=0)
    return tmp_path


def test_the_gradient_check_tells_the_size_of_its_patches(compact):
    output = compact / "check"
    command = [str(compact), "--output", str(output), "--patches", "3", "--patch", "32"]
    CliRunner().invoke(gradient_check.main, command, catch_exceptions=False)
    assert (
        (output / "gradient_check.md")
        .read_text()
        .startswith("# Gradient check: 50 steps of 0.5 logit at most, patches of 32\n")
    )


@pytest.mark.parametrize("command", [report.main, gradient_check.main])
@pytest.mark.parametrize(("patch", "told"), [("20", "multiple of 8"), ("16", "below 24")])
def test_patches_that_no_network_takes_are_refused(compact, command, patch, told):
    result = CliRunner().invoke(command, [str(compact), "--output", str(compact / "out"), "--patch", patch])
    assert result.exit_code == UsageError.exit_code
    assert told in result.output
    assert not (compact / "out").exists()


def test_the_published_head_is_measured_on_its_own_patches():
    with torch.device("meta"):
        network = MetricNetwork("published", 64)
    assert patch_edge(network, None) == patch_edge(network, 64) == 64
    with pytest.raises(UsageError, match="patches of 64 only"):
        patch_edge(network, 48)


def logged_run(folder, arm, seed, f1):
    """Write what a training of the ablation leaves behind."""
    run = folder / f"{arm}-{seed}"
    run.mkdir(parents=True)
    scores = {
        "synthetic-000": {"F1_score": f1, "SensL": f1, "PPVL": f1, "Dice": 0.5},
        "synthetic-001": {"NbTestedLesions": 2.0, "VolTestedLesions": 30.0},
        "synthetic-002": {"NbTestedLesions": 0.0, "VolTestedLesions": 0.0},
        "pair-patient01": {"F1_score": 0.25, "Dice": 0.4},
    }
    settings = {"arm": arm, "seed": seed, **dict.fromkeys(ablation_report.TOLD, 8)}
    (run / ablation_report.SCORES).write_text(json.dumps(scores))
    (run / ablation_report.SETTINGS).write_text(json.dumps(settings))
    (run / "log.jsonl").write_text('{"step": 10, "dice_loss": 0.3}\n{"step": 20, "dice_loss": 0.4}\n')
    return run


def test_ablation_means_and_spread_by_hand(tmp_path):
    runs = [logged_run(tmp_path, "Dice", seed, f1) for seed, f1 in ((1, 0.4), (2, 0.6))]
    columns = ablation_report.summary({"Dice": runs})["Dice"]
    assert columns["lesion F1"] == pytest.approx((0.5, np.sqrt(0.02)))
    assert columns["false lesions"] == pytest.approx((1.0, 0.0))
    assert columns["false mm3"] == pytest.approx((15.0, 0.0))
    assert columns["lesion F1, real pairs"] == pytest.approx((0.25, 0.0))


def test_ablation_report_is_made_from_logged_runs(tmp_path):
    for arm in ("Dice", "Dice + blob"):
        for seed in (1, 2):
            logged_run(tmp_path / "runs", arm, seed, 0.5)
    command = [
        "report",
        str(tmp_path / "runs"),
        "--report",
        str(tmp_path / "A.md"),
        "--plot",
        str(tmp_path / "a.png"),
    ]
    (tmp_path / "A.md").write_text(f"an old table\n{ablation_report.END}\n\nWhat it means.\n")
    result = CliRunner().invoke(ablation.main, command, catch_exceptions=False)
    assert result.exit_code == 0
    text = (tmp_path / "A.md").read_text()
    assert "old table" not in text
    assert text.endswith("\n\nWhat it means.\n")
    assert "| Dice + blob | 2 | 0.500 ± 0.000 |" in text
    assert "3 synthetic held-out cases, 2 of them without new lesions" in text
    assert "Different between them: seed." in text
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_an_ablation_of_which_nothing_can_be_said_yet_is_told_in_a_line(tmp_path):
    command = [str(tmp_path), "--report", str(tmp_path / "A.md"), "--plot", str(tmp_path / "a.png")]
    run = logged_run(tmp_path, "Dice", 1, 0.5)
    (run / "log.jsonl").unlink()  # the start of all was not trained
    alone = CliRunner().invoke(ablation.main, ["report", *command])
    logged_run(tmp_path, "Dice", 2, 0.5)
    (run / ablation_report.SCORES).write_text('{"synthetic-000": {"F1_score": 0.5}}')
    mixed = CliRunner().invoke(ablation.main, ["report", *command])
    for result, told in (
        (alone, "run the ablation on"),
        (mixed, "not all runs were scored on the same cases"),
    ):
        assert result.exit_code == 1
        assert told in result.output
        assert result.output.count("\n") == 1
    assert not (tmp_path / "A.md").exists()
    assert not (tmp_path / "a.png").exists()


def test_the_block_of_a_case_holds_its_new_lesions_or_the_middle_of_the_brain():
    brain = np.zeros((40, 30, 20), dtype=bool)
    brain[10:30, 5:25, 5:15] = True
    new = np.zeros_like(brain)
    new[36, 4, 9] = True
    image = np.arange(brain.size, dtype=np.float32).reshape(brain.shape)
    changed = block(SyntheticPair(image, image, brain, new, new), edge=16)
    assert changed.time1.shape == (16, 16, 16)
    assert changed.time1[0, 0, 0] == image[24, 0, 1]  # at the grid's end and start along x and y
    assert changed.new_lesions.sum() == 1
    unchanged = block(SyntheticPair(image, image, brain, new & ~new, new), edge=16)
    assert unchanged.time1[0, 0, 0] == image[12, 6, 2]  # the brain's middle is at 19.5, 14.5, 9.5


def test_arms_of_the_ablation_are_options_of_the_training():
    for arm in ablation.ARMS.values():
        assert set(arm) <= set(Options.__dataclass_fields__)


def test_every_arm_of_the_ablation_is_trained_with_its_own_loss(tmp_path, monkeypatch):
    trained = []
    monkeypatch.setattr(ablation, "draw_batches", lambda _options: [])
    monkeypatch.setattr(ablation, "train", lambda options, _batches: trained.append(options))
    monkeypatch.setattr(ablation, "_score_once", lambda *_arguments: None)
    arguments = ["--output", str(tmp_path / "runs"), "--metric-network", str(tmp_path), "--seeds", "1"]
    arguments += ["--steps", "2"]
    CliRunner().invoke(ablation.run, arguments, catch_exceptions=False)
    assert [options.lesion_loss for options in trained] == [
        arm["lesion_loss"] for arm in ablation.ARMS.values()
    ]


def test_an_ablation_that_cannot_be_finished_is_refused_before_it_begins(tmp_path, monkeypatch):
    def never(*_arguments):
        raise AssertionError("nothing may be trained")

    monkeypatch.setattr(ablation, "train", never)
    result = CliRunner().invoke(ablation.main, ["run", "--output", str(tmp_path / "runs"), "--arm", "Dice"])
    assert result.exit_code == 2
    assert "--steps" in result.output
    assert result.output.count("\n") == 1
    runs = ["--output", str(tmp_path / "runs"), "--steps", "2"]
    for arguments, told in (
        ([], "needs a trained one"),
        (["--arm", "Dice", "--metric-network", str(tmp_path)], "has no effect"),
    ):
        result = CliRunner().invoke(ablation.run, [*runs, *arguments])
        assert result.exit_code == 2
        assert told in result.output
    for option in ("--alpha", "--shards"):
        result = CliRunner().invoke(ablation.run, [*runs, option, "3"])
        assert result.exit_code == 2
        assert option in result.output


def test_an_ablation_goes_on_only_with_its_own_settings(tmp_path, monkeypatch):
    network = tmp_path / "network.pt"
    network.write_bytes(b"one")
    monkeypatch.setattr(ablation, "draw_batches", lambda _options: [])
    monkeypatch.setattr(ablation, "train", lambda *_arguments: None)
    monkeypatch.setattr(ablation, "_score_once", lambda *_arguments: None)
    begin = ["--output", str(tmp_path / "runs"), "--arm", "Dice", "--seeds", "1", "--initial", str(network)]
    begin += ["--steps", "2"]
    assert CliRunner().invoke(ablation.run, [*begin, "--patch", "32"]).exit_code == 0
    assert CliRunner().invoke(ablation.run, [*begin, "--patch", "32", "--threads", "1"]).exit_code == 0
    other = CliRunner().invoke(ablation.run, [*begin, "--patch", "48"])
    assert other.exit_code == 2
    assert "patch 32, not 48" in other.output
    other = CliRunner().invoke(
        ablation.run, [*begin, "--patch", "32", "--workers", "2"]
    )  # deals the patches otherwise
    assert "workers 1, not 2" in other.output
    np.savez(tmp_path / "shapes.npz", one=np.ones(3))
    other = CliRunner().invoke(
        ablation.run, [*begin, "--patch", "32", "--shapes", str(tmp_path / "shapes.npz")]
    )
    assert "begun with material" in other.output
    network.write_bytes(b"another under its name")
    changed = CliRunner().invoke(ablation.run, [*begin, "--patch", "32"])
    assert changed.exit_code == 2
    assert "begun with initial" in changed.output
