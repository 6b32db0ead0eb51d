"""The metric network: two heads with one interface, the published one's size counted by hand."""

import json
from itertools import pairwise

import nibabel as nib
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from lesionwise.errors import InputError, UsageError
from lesionwise.weights import REPOSITORY_FOLDER
from train.metric_network.__main__ import main
from train.metric_network.export import main as export
from train.metric_network.files import export_metric_network, load_metric_network, save_metric_network
from train.metric_network.losses import ENOUGH, fine_tune, gradient_loss, metric_loss
from train.metric_network.network import MetricNetwork, ShareOdds, as_log_odds, f1_of_counts
from train.metric_network.targets import patch_f1
from train.metric_network.walkers import Walkers, walked


def parameters(network):
    return sum(p.numel() for p in network.parameters())


def small(head, patch=16):
    """The published head with layers of 4096 would take 0.1 GB even here: it is built on the meta device only."""
    torch.manual_seed(0)
    return MetricNetwork(head, patch, width=5)


def convolutions(width):
    widths = (3, width, 2 * width, 2 * width, 4 * width, 4 * width, 8 * width)
    return sum(27 * i * o + o for i, o in pairwise(widths)), widths[:-1]


def test_published_head_has_178_million_parameters():
    with torch.device("meta"):
        network = MetricNetwork("published")
    convolved, normed = convolutions(10)
    flattened = 80 * 8**3
    connected = (
        flattened * 4096 + 4096
        + 4096 * 2048 + 2048
        + 2048 * 1024 + 1024
        + 1024 + 1
    )  # fmt: skip
    assert parameters(network) == convolved + 2 * sum(normed) + connected == 178_434_799


def test_compact_head_is_below_a_million():
    # (channels in, out, kernel's voxels): each voxel by itself, halved with overlap, five convolutions, log odds of lesions
    # of both masks; and twice, of a lesion's edge and two shares of twenty hinges.
    layers = [
        (3, 8, 1),
        (8, 16, 64),
        (16, 16, 27),
        (16, 32, 27),
        (32, 64, 27),
        (64, 64, 27),
        (64, 64, 27),
        (64, 2, 1),
        *2 * [(1 + 2 * 20, 32, 1), (32, 1, 1)],
    ]
    assert parameters(MetricNetwork("compact")) == sum(i * o * k + o for i, o, k in layers) == 308_580


def test_published_head_works_on_its_patch_only():
    with torch.device("meta"):
        network = MetricNetwork("published", patch=16)
        assert network(torch.rand(3, 16, 16, 16), torch.rand(3, 16, 16, 16)).shape == (3,)
        with pytest.raises(RuntimeError):
            network(torch.rand(1, 24, 24, 24), torch.rand(1, 24, 24, 24))


@pytest.mark.parametrize("size", [16, 24])
def test_compact_head_takes_any_size_and_stays_between_0_and_1(size):
    estimates = small("compact").eval()(torch.rand(3, size, size, size), torch.rand(3, size, size, size))
    assert estimates.shape == (3,)
    assert ((estimates >= 0) & (estimates <= 1)).all()


def test_pairs_of_a_batch_do_not_influence_each_other():
    network = small("compact").eval()
    prediction, truth = torch.rand(2, 16, 16, 16), torch.rand(2, 16, 16, 16)
    alone = network(prediction[:1], truth[:1])
    torch.testing.assert_close(network(prediction, truth)[:1], alone)


def test_product_channel_tells_overlap_from_distance():
    network = small("compact").eval()
    seen = []
    network.head.trunk.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    prediction, truth = torch.rand(1, 16, 16, 16), (torch.rand(1, 16, 16, 16) > 0.5).float()
    network(prediction, truth)
    odds = as_log_odds(prediction[0])
    torch.testing.assert_close(seen[0][0], torch.stack([odds, truth[0], odds * truth[0]]))


def test_four_sums_make_f1():
    # 3 found, 1 missed; 2 right, 2 wrong, each 0.02 better than that.
    maps = torch.tensor([3.0, 1.0, 2.0, 2.0]).reshape(1, 4, 1, 1, 1) * torch.tensor(
        [0.25, 0.75]
    )  # over two cells
    s, p = 3.02 / 4.02, 2.02 / 4.02
    assert float(f1_of_counts(maps)) == pytest.approx(2 * s * p / (s + p), rel=1e-5)


def test_odds_can_jump_where_a_share_crosses_a_limit():
    odds = ShareOdds(hidden=8)
    with torch.no_grad():
        for layer in odds.layers[::2]:
            layer.weight.zero_()
            layer.bias.zero_()
        odds.layers[0].weight[0, 1 + 2] = 1.0  # of the first share, the hinge from 0.10 to 0.15
        odds.layers[2].weight[0, 0] = 100.0
    shares = torch.tensor([[0.5, share, 0.9] for share in (0.0, 0.1, 0.12, 0.15, 1.0)])
    torch.testing.assert_close(odds(shares), torch.tensor([0.0, 0.0, 40.0, 100.0, 100.0]), atol=1e-4, rtol=0)


def one_true_three_predicted():
    """Return a prediction and a truth (1, 16, 24, 8): the true lesion is covered by the first predicted one."""
    prediction, truth = torch.zeros(1, 16, 24, 8), torch.zeros(1, 16, 24, 8)
    truth[0, 2:5, 2:5, 2:5] = 1
    for x, y in ((2, 2), (10, 2), (10, 18)):
        prediction[0, x : x + 3, y : y + 3, 2:5] = 0.9
    return prediction, truth


def test_maps_are_of_true_lesions_found_and_missed_then_predicted_ones_right_and_wrong():
    network = small("compact").eval()
    head, pair = network.head, one_true_three_predicted()
    maps = network.counted(*pair)[1].detach()
    assert maps.shape == (1, 4, 2, 3, 1)
    assert (float(maps[:, :2].sum()), float(maps[:, 2:].sum())) == pytest.approx((1, 3))
    for first, total in ((0, 1), (2, 3)):
        with torch.no_grad():
            head.around.bias.copy_(torch.where(torch.arange(2) == first // 2, 60.0, 0.0))
        sure = network.counted(*pair)[1].detach().sum((0, 2, 3, 4))
        assert sure[first : first + 2].tolist() == pytest.approx([total, 0], abs=1e-6)
        assert 0 < sure[(first + 2) % 4] < 4 - total
    # Where predicted lesions lie: two of them in cells of their own.
    np.testing.assert_allclose(maps[0, 2:].sum(0)[:, :, 0], [[1, 0, 0], [1, 0, 1]], rtol=1e-5)


def test_patches_with_other_edges_are_refused():
    with pytest.raises(ValueError, match="multiples of 8"):
        small("compact")(torch.zeros(1, 12, 16, 16), torch.zeros(1, 12, 16, 16))


@pytest.mark.parametrize("wrong", [{"head": "large"}, {"patch": 20}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=r"large|20"):
        MetricNetwork(**wrong)


def test_file_gives_the_same_network_again(tmp_path):
    network = small("compact").eval()
    save_metric_network(tmp_path, network, network.state_dict(), step=12)
    again, step = load_metric_network(tmp_path)
    pair = torch.rand(1, 16, 16, 16), torch.rand(1, 16, 16, 16)
    assert step == 12
    assert torch.equal(again.eval()(*pair), network(*pair))


def test_a_network_that_was_stored_as_the_only_one_of_several_is_read(tmp_path):
    """As the one in weights/ was."""
    network = small("compact").eval()
    former = {name.replace("head.", "members.0.", 1): value for name, value in network.state_dict().items()}
    settings = {**network.settings, "members": 1}
    torch.save({"settings": settings, "parameters": former, "step": 3}, tmp_path / "metric_network.pt")
    pair = torch.rand(1, 16, 16, 16), torch.rand(1, 16, 16, 16)
    assert torch.equal(load_metric_network(tmp_path)[0].eval()(*pair), network(*pair))
    second = {name.replace("0", "1", 1): value for name, value in former.items()}
    torch.save(
        {"settings": settings, "parameters": former | second, "step": 3}, tmp_path / "metric_network.pt"
    )
    with pytest.raises(InputError, match="no metric network of this version"):
        load_metric_network(tmp_path)


def test_the_network_in_weights_is_read():
    network, steps = load_metric_network(REPOSITORY_FOLDER / "metric_network")
    assert (network.settings["head"], steps, parameters(network)) == ("compact", 1545, 308_580)


def test_exported_files_give_the_same_network_and_no_other(tmp_path):
    network = small("compact").eval()
    older = {"mae": 0.05, "step": 3, "sha256": "0", "settings": {"head": "published"}}  # a manifest, edited
    export_metric_network(tmp_path, network, step=12, facts=older)
    assert json.loads((tmp_path / "manifest.json").read_text())["mae"] == 0.05
    again, step = load_metric_network(tmp_path)
    pair = torch.rand(1, 16, 16, 16), torch.rand(1, 16, 16, 16)
    assert step == 12
    assert torch.equal(again.eval()(*pair), network(*pair))
    tensors = tmp_path / "metric_network.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"?")
    with pytest.raises(InputError, match="manifest"):
        load_metric_network(tmp_path)


@pytest.mark.parametrize("content", ["{", "3"])
def test_facts_that_are_none_are_refused_in_one_line(tmp_path, content):
    network = small("compact")
    save_metric_network(tmp_path, network, network.state_dict(), step=1)
    (tmp_path / "facts.json").write_text(content)
    files = [str(tmp_path), "--facts", str(tmp_path / "facts.json"), "--output", str(tmp_path / "out")]
    result = CliRunner().invoke(export, files)
    assert result.exit_code == InputError.exit_code
    assert result.output.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [None, b"", b"no tensors"])
def test_a_file_that_is_none_is_refused_in_one_line(tmp_path, content):
    file = tmp_path / "metric_network.pt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=r"metric_network\.pt: .*metric network") as error:
        load_metric_network(file)
    assert "\n" not in str(error.value)


def test_loss_is_the_mean_squared_error():
    network = small("compact").eval()
    prediction, truth = one_true_three_predicted()
    prediction, truth = prediction.repeat(2, 1, 1, 1), truth.repeat(2, 1, 1, 1)
    estimate = float(network(prediction, truth)[0].detach())
    assert 0.1 < estimate < 0.9
    f1 = torch.tensor([estimate + 0.1, estimate - 0.3])
    # A count that is met has no deviance, so that the squared error of F1 is all.
    counts = network.counted(prediction, truth)[1].detach()
    loss, parts = metric_loss(network, (prediction, truth, f1, counts))
    assert float(loss.detach()) == pytest.approx((0.1**2 + 0.3**2) / 2, rel=1e-4)
    assert parts["absolute_error"] == pytest.approx(0.2, rel=1e-4)
    wrong = metric_loss(network, (prediction, truth, f1, counts + 1))
    assert wrong[1]["counts_deviance"] > parts["counts_deviance"] == pytest.approx(0, abs=1e-4)
    assert wrong[1]["squared_error"] == parts["squared_error"]
    added = [
        float(metric_loss(network, (prediction, truth, f1, counts + 1), counts_weight=weight)[0].detach())
        - float(loss.detach())
        for weight in (0.01, 0.002)
    ]
    assert added[1] > 0
    assert added[0] == pytest.approx(5 * added[1], rel=1e-3)


class Steered(torch.nn.Module):
    """Estimates by the log odds times a direction: that direction is its gradient on the logits."""

    def __init__(self, direction):
        super().__init__()
        self.direction = torch.nn.Parameter(direction)

    def forward(self, prediction, truth):
        return (torch.logit(prediction, eps=1e-6) * self.direction).sum((1, 2, 3))


@pytest.mark.parametrize(("factor", "expected"), [(3.0, 0.0), (-1.0, 1 + ENOUGH)])
def test_gradient_loss_is_0_where_the_gradient_points_to_the_errors(factor, expected):
    truth, prediction = torch.zeros(2, 8, 8, 8), torch.full((2, 8, 8, 8), 0.1)
    truth[0, 1, 1, 1:4] = 1  # missed in the first pair
    prediction[0, 6, 6, 6] = 0.9  # invented in the first pair; the second has no error
    towards = torch.zeros(2, 8, 8, 8)
    towards[0, 1, 1, 1:4] = 1
    towards[0, 6, 6, 6] = -1
    network = Steered(factor * towards[:1])
    batch = prediction, truth, torch.tensor([0.0, 1.0]), torch.zeros(2, 4, 1, 1, 1)
    loss = gradient_loss(network, batch, torch.float32)
    assert loss.item() == pytest.approx(expected, abs=1e-5)
    loss.backward()
    assert network.direction.grad is not None
    right = truth, truth, torch.ones(2), batch[3]
    assert gradient_loss(network, right, torch.float32).item() == 0


def test_log_odds_keep_masks_and_the_threshold_and_do_not_fade_where_a_network_is_sure():
    given = torch.tensor([0.0, 0.5, 1.0])
    assert as_log_odds(given).tolist() == [0.0, 0.5, 1.0]
    for logit in (-9.0, -4.0, 0.0, 4.0, 9.0):  # the same slope everywhere: one part in twice 6
        variable = torch.tensor(logit, requires_grad=True)
        as_log_odds(variable.sigmoid()).backward()
        assert variable.grad.item() == pytest.approx(1 / 12, rel=1e-3)


def test_fine_tuning_learns_a_batch():
    torch.manual_seed(0)
    network = MetricNetwork("compact", 24)
    masks = (torch.rand(4, 24, 24, 24, generator=torch.Generator().manual_seed(0)) > 0.9).float()
    found = torch.tensor([0.1, 0.9, 0.4, 0.6])
    kinds = torch.stack([found, 1 - found, found, 1 - found], 1).reshape(4, 4, 1, 1, 1)
    batch = masks, masks.roll(1, 0), found, kinds.expand(4, 4, 3, 3, 3) / 27
    first = metric_loss(network, batch)[1]["absolute_error"]
    assert fine_tune(network, [batch] * 60, steps=60, rate=2e-3, gradient_weight=0.0) < 0.7 * first


def test_a_walk_goes_up_f_by_the_step():
    network = small("compact").eval()
    truths = (torch.rand(2, 16, 16, 16, generator=torch.Generator().manual_seed(1)) > 0.9).float()
    logits = torch.full((2, 16, 16, 16), -1.0)  # away from where voxels become lesions and the estimate jumps
    steps = torch.tensor([0.01, 0.02])
    moved = walked(network, logits, truths, steps, torch.float32)
    torch.testing.assert_close((moved - logits).abs().amax((1, 2, 3)), steps)
    assert (network(moved.sigmoid(), truths) > network(logits.sigmoid(), truths)).all()


def test_walkers_bring_their_true_f1_and_are_replaced():
    network = small("compact")
    rng = np.random.default_rng(0)
    walkers = Walkers(network, 2, "organisers", torch.float32, rng)
    masks = (torch.rand(3, 16, 16, 16, generator=torch.Generator().manual_seed(0)) > 0.9).float()
    batch = masks, masks.roll(1, 0), torch.zeros(3), torch.zeros(3, 4, 2, 2, 2)
    for _ in range(4):
        predictions, truths, f1, counts = walkers.join(batch)
        assert [len(part) for part in (predictions, truths, f1, counts)] == [5] * 4
        for k in (3, 4):
            assert float(f1[k]) == pytest.approx(
                patch_f1((predictions[k] > 0.5).numpy(), truths[k].numpy() > 0.5)
            )
        walkers.steps_left[0] = 0
    assert network.training


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--patch", "30"], "multiple of 8"),
        (["--patch", "16"], "raise --patch"),
        (["--width", "4", "--initial", "INITIAL"], "cannot start one with"),
        (["--network-outputs", "INITIAL"], "record them again"),
        (["--dropout", "0.5"], "--dropout has no effect here; add --head published"),
        (["--head", "published", "--counts-weight", "0.1"], "add --head compact"),
        (["--network-share", "0.2"], "add --network-outputs"),
        (["--fold", "2"], "add --data"),
        (["--data", "/nonexistent"], "/nonexistent: there is no such folder"),
        (["--masks", "MASKS"], "bad.nii.gz"),
        (["--masks", "THICK"], "its voxels are 1 x 1 x 3 mm"),
    ],
)
def test_a_training_that_cannot_begin_is_refused_in_one_line(tmp_path, arguments, told):
    network = MetricNetwork("compact", 24, width=5)
    save_metric_network(tmp_path, network, network.state_dict(), step=1)
    initial = str(tmp_path / "metric_network.pt")
    for name in ("MASKS", "THICK"):
        (tmp_path / name).mkdir()
    (tmp_path / "MASKS" / "bad.nii.gz").write_bytes(b"none")
    thick = nib.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.diag([1.0, 1, 3, 1]))
    nib.save(thick, tmp_path / "THICK" / "mask.nii.gz")
    files = {"INITIAL": initial} | {name: str(tmp_path / name) for name in ("MASKS", "THICK")}
    arguments = [files.get(word, word) for word in arguments]
    result = CliRunner().invoke(main, ["--output", str(tmp_path / "run"), "--patch", "24", *arguments])
    assert result.exit_code in (InputError.exit_code, UsageError.exit_code)
    assert told in result.output
    assert result.output.count("\n") == 1
    assert not (tmp_path / "run").exists()
