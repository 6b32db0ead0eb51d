"""The decoders in slabs are the network itself; windows are as large as memory allows."""

import numpy as np
import pytest
import torch

from lesionwise import inference
from lesionwise.inference import Windows, predict_in_memory
from lesionwise.memory import free_bytes, window_edges
from lesionwise.network import UNet
from lesionwise.slabs import BYTES_PER_VOXEL, logits_in_slabs


@pytest.mark.parametrize("rows", [4, 64])
def test_slabs_give_the_networks_own_logits(rows):
    torch.manual_seed(4)
    network = UNet(width=8).eval()
    pair = torch.randn(2, 2, 24, 8, 16)
    pair[1] += 3  # each image of a batch has statistics of its own
    with torch.inference_mode():
        torch.testing.assert_close(logits_in_slabs(network, pair, rows), network(pair), rtol=1e-4, atol=1e-5)


def test_edges_that_fit():
    voxels = 144 * 192 * 160  # the axes below, rounded up to what can be halved three times
    shape = (142, 190, 158)
    assert window_edges(shape, 1.5 * voxels * BYTES_PER_VOXEL) == [192, 160, 128, 96, 64]
    assert window_edges(shape, 1.5 * 128**3 * BYTES_PER_VOXEL) == [128, 96, 64]
    assert window_edges(shape, 0) == [64], "the smallest is tried whatever the system says"
    assert free_bytes(torch.device("cpu")) > 0


def test_a_window_that_does_not_fit_after_all_is_halved():
    asked = []

    def run(windows):
        asked.append(windows.shape[2])
        if windows.shape[2] > 96:
            raise torch.OutOfMemoryError("other programs have it")
        return torch.full((1, *windows.shape[2:]), 0.25)

    image, brain = np.zeros((140, 64, 64), np.float32), np.ones((140, 64, 64), bool)
    found, edge = predict_in_memory(run, image, image, brain, Windows(), free_bytes=1e12)
    assert (asked, edge) == ([144, 128, 96, 96], 96)
    assert (found == 0.25).all()
    assert found.shape == brain.shape
    with pytest.raises(torch.OutOfMemoryError):
        predict_in_memory(run, image, image, brain, Windows(edge=128), free_bytes=1e12)


def test_windows_as_asked_whatever_memory_there_is(monkeypatch):
    monkeypatch.setattr(inference, "window_edges", lambda *_: pytest.fail("not to be asked"))
    ones = lambda windows: torch.ones(1, *windows.shape[2:])  # noqa: E731
    image, brain = np.zeros((16, 8, 8), np.float32), np.ones((16, 8, 8), bool)
    assert predict_in_memory(ones, image, image, brain, Windows(edge=8), free_bytes=0)[1] == 8
