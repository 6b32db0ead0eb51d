"""The decoders in slabs are the network itself; windows are as large as memory allows."""

import numpy as np
import pytest
import torch

from lesionwise import inference, memory
from lesionwise.inference import Windows, predict_in_memory
from lesionwise.memory import SHARE, free_bytes, room_voxels, window_edges
from lesionwise.network import UNet
from lesionwise.slabs import BYTES_PER_VOXEL, in_turn, logits_in_slabs


@pytest.mark.parametrize("rows", [4, 64])
def test_slabs_give_the_networks_own_logits(rows):
    torch.manual_seed(4)
    network = UNet(width=8).eval()
    pair = torch.randn(2, 2, 24, 8, 16)
    pair[1] += 3  # each image of a batch has statistics of its own
    with torch.inference_mode():
        torch.testing.assert_close(logits_in_slabs(network, pair, rows), network(pair), rtol=1e-4, atol=1e-5)


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


def test_memory_of_a_container_counts_and_files_that_were_read_are_not_in_the_way(tmp_path, monkeypatch):
    files = {
        "max": "3000000000",
        "current": "1500000000",
        "stat": "anon 9\ninactive_file 400000000\nactive_file 7",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(memory, "CONTAINER_LIMITS", [tuple(tmp_path / name for name in files)])
    cpu = torch.device("cpu")
    assert free_bytes(cpu) == 3000000000 - 1500000000 + 400000000
    for precision, bytes_per_voxel in BYTES_PER_VOXEL.items():
        assert room_voxels(cpu, precision) == pytest.approx(SHARE * 1.9e9 / bytes_per_voxel)
    (tmp_path / "stat").unlink()
    assert free_bytes(cpu) == 1500000000


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
    assert predict_in_memory(ones, image, image, brain, Windows(edge=8), room_voxels=0)[1] == 8
