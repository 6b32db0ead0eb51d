"""The decoders in slabs are the network itself; windows are as large as memory allows."""

import numpy as np
import pytest
import torch
from made_groups import made_groups

from lesionwise import inference, memory
from lesionwise.control_groups import own_groups
from lesionwise.inference import Windows, predict_in_memory
from lesionwise.memory import SHARE, free_bytes, room_voxels, window_edges
from lesionwise.network import UNet
from lesionwise.slabs import BYTES_PER_VOXEL, MARGIN, NO_LESION, boxes, in_turn, logits_in_slabs


@pytest.mark.parametrize("rows", [4, 64])
def test_slabs_give_the_networks_own_logits(rows):
    torch.manual_seed(4)
    network = UNet(width=8).eval()
    pair = torch.randn(2, 2, 24, 8, 16)
    pair[1] += 3  # each image of a batch has statistics of its own
    with torch.inference_mode():
        torch.testing.assert_close(logits_in_slabs(network, pair, rows), network(pair), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rows", [8, 64])
def test_where_they_are_wanted_logits_are_the_networks_own_and_elsewhere_they_say_no_lesion(rows):
    torch.manual_seed(4)
    network = UNet(width=8).eval()
    pair = torch.randn(1, 2, 48, 40, 32)
    brain = torch.zeros(48, 40, 32, dtype=torch.bool)
    brain[18:30, 20:24, 0:9] = True
    near = torch.zeros_like(brain)
    near[18 - MARGIN : 30 + MARGIN, 20 - MARGIN : 24 + MARGIN, : 9 + MARGIN] = True
    with torch.inference_mode():
        expected, found = network(pair), logits_in_slabs(network, pair, rows, brain)
    torch.testing.assert_close(found[..., near], expected[..., near], rtol=1e-4, atol=1e-5)
    far = torch.zeros_like(brain)
    far[:, : 20 - MARGIN] = far[:, :, 9 + MARGIN :] = True
    assert (found[0, 0][far] == NO_LESION[0]).all()
    assert (found[0, 1][far] == NO_LESION[1]).all()
    assert found.softmax(1)[0, 1][far].max() < 1e-12


def test_boxes_hold_the_brain_of_their_slab_and_that_near_it():
    brain = torch.zeros(40, 70, 30, dtype=torch.bool)
    brain[18, 10, 12] = brain[18, 30, 27] = True
    of_slab = [(slice(6, 32), slice(8, 32)), (slice(32, 35), slice(23, 32))]
    # The voxel's own slab is the third; it is near the last rows of the second.
    assert boxes(brain, 8) == [[], of_slab, of_slab, [], []]


def test_without_any_brain_logits_are_computed_everywhere():
    network = UNet(width=8).eval()
    pair = torch.randn(1, 2, 16, 16, 16)
    with torch.inference_mode():
        found = logits_in_slabs(network, pair, 8, torch.zeros(16, 16, 16, dtype=torch.bool))
        torch.testing.assert_close(found, logits_in_slabs(network, pair, 8))


def test_statistics_of_large_images_are_right_whatever_the_order_in_memory():
    """Torch's own group normalisation of a channels-last image of this size is off by 2e-3 here, and by far more in life."""
    torch.manual_seed(0)
    normalisation = torch.nn.GroupNorm(8, 8)
    image = torch.randn(1, 8, 96, 96, 96) + torch.arange(8).view(1, 8, 1, 1, 1) / 2
    image[:, :, :20] = 0.25  # outside the brain all voxels are the same
    with torch.inference_mode():
        expected = normalisation(image)
        found = in_turn([normalisation], image.to(memory_format=torch.channels_last_3d))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_edges_that_fit():
    voxels = 144 * 192 * 160  # the axes below, rounded up to what can be halved three times
    shape = (142, 190, 158)
    assert window_edges(shape, 1.05 * voxels) == [192, 160, 128, 96, 64]
    assert window_edges(shape, 1.05 * 128**3) == [128, 96, 64]
    assert window_edges(shape, 0) == [64], "the smallest is tried whatever the system says"
    assert free_bytes(torch.device("cpu")) > 0


V2 = {"max": "3000000000", "current": "1500000000", "stat": "anon 9\ninactive_file 400000000\nactive_file 7"}
V1 = {
    "limit_in_bytes": V2["max"],
    "usage_in_bytes": V2["current"],
    "stat": "inactive_file 1\ntotal_inactive_file 400000000",
}


def in_folder(folder, files, **changed):
    return {f"{folder}memory.{name}": content for name, content in {**files, **changed}.items()}


@pytest.mark.parametrize(
    ("membership", "files", "free"),
    [
        ("0::/", in_folder("", V2), 1.9e9),
        ("0::/", in_folder("", V2, stat=""), 1.5e9),
        ("4:memory:/", in_folder("memory/", V1), 1.9e9),
        ("0::/slurm/job/step", in_folder("slurm/job/", V2), 1.9e9),
        ("0::/a/b", in_folder("a/", V2) | in_folder("a/b/", V2, max="2000000000"), 0.9e9),
        ("0::/a/b", in_folder("a/", V2, max="2000000000") | in_folder("a/b/", V2), 0.9e9),
        ("9:cpu:/\n4:memory:/slurm/job_1", in_folder("memory/slurm/job_1/", V1), 1.9e9),
        ("0::/on/the/host", in_folder("", V2), 1.9e9),
    ],
)
def test_the_smallest_room_in_the_control_groups_counts_without_files_that_were_read(
    tmp_path, monkeypatch, membership, files, free
):
    groups = made_groups(tmp_path, membership, files)
    monkeypatch.setattr(memory, "own_groups", lambda controller: own_groups(controller, *groups))
    cpu = torch.device("cpu")
    assert free_bytes(cpu) == free
    for precision, bytes_per_voxel in BYTES_PER_VOXEL.items():
        assert room_voxels(cpu, precision) == pytest.approx(SHARE * free / bytes_per_voxel)


def test_a_group_without_a_limit_limits_nothing(tmp_path, monkeypatch):
    groups = made_groups(tmp_path, "0::/a", in_folder("a/", V2, max="max"))
    monkeypatch.setattr(memory, "own_groups", lambda controller: own_groups(controller, *groups))
    assert free_bytes(torch.device("cpu")) > 0
    assert memory._room_in_group(tmp_path / "mount/a") == []


@pytest.mark.parametrize(
    ("free", "precision", "edge"),
    [
        (5.5e9, torch.bfloat16, 192),
        (5.5e9, torch.float32, 192),
        (1e9, torch.bfloat16, 128),
        (1e8, torch.float32, 64),
    ],
)
def test_a_brain_fits_on_a_gpu_of_6_gb_and_less_memory_means_smaller_windows(
    monkeypatch, free, precision, edge
):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (int(free), int(6e9)))
    room = room_voxels(torch.device("cuda"), precision)
    assert window_edges((144, 192, 160), room)[0] == edge


def test_what_torch_keeps_of_a_case_before_is_free_on_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (int(1e9), int(6e9)))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _device: int(4.5e9))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _device: int(0.5e9))
    assert free_bytes(torch.device("cuda")) == 5e9


def test_a_window_that_does_not_fit_after_all_is_halved():
    asked = []

    def run(windows):
        asked.append(windows.shape[2])
        if windows.shape[2] > 96:
            raise torch.OutOfMemoryError("other programs have it")
        return torch.full((1, *windows.shape[2:]), 0.25)

    image, brain = np.zeros((140, 64, 64), np.float32), np.ones((140, 64, 64), bool)
    found, edge = predict_in_memory(run, image, image, brain, Windows(), room_voxels=1e12)
    assert (asked, edge) == ([144, 128, 96, 96], 96)
    assert (found == 0.25).all()
    assert found.shape == brain.shape
    with pytest.raises(torch.OutOfMemoryError):
        predict_in_memory(run, image, image, brain, Windows(edge=128), room_voxels=1e12)


def test_windows_as_asked_whatever_memory_there_is(monkeypatch):
    monkeypatch.setattr(inference, "window_edges", lambda *_: pytest.fail("not to be asked"))
    ones = lambda windows: torch.ones(1, *windows.shape[2:])  # noqa: E731
    image, brain = np.zeros((16, 8, 8), np.float32), np.ones((16, 8, 8), bool)
    assert predict_in_memory(ones, image, image, brain, Windows(edge=16), room_voxels=0)[1] == 16
