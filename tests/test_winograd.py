"""Winograd's convolution against torch's own: forward, both gradients, and a whole network."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.nn import functional

from lesionwise.network import UNet
from lesionwise.winograd import WinogradConv3d, accelerate


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float(((found - expected).abs().max() / expected.std()).detach())


@pytest.mark.parametrize("size", [(16, 16, 16), (17, 18, 19), (20, 16, 31)])
@pytest.mark.parametrize("channels", [(24, 48), (48, 64)])
def test_forward_and_gradients_equal_a_direct_convolution(
    size: tuple[int, int, int], channels: tuple[int, int]
) -> None:
    torch.manual_seed(1)
    convolution = WinogradConv3d(*channels, kernel_size=3, padding=1)
    image = torch.randn(2, channels[0], *size, requires_grad=True)
    direct = functional.conv3d(image, convolution.weight, convolution.bias, padding=1)
    gradient = torch.randn_like(direct)
    expected = torch.autograd.grad(direct, (image, convolution.weight, convolution.bias), gradient)

    result = convolution(image)
    found = torch.autograd.grad(result, (image, convolution.weight, convolution.bias), gradient)

    assert relative_error(result, direct) < 1e-3
    for ours, theirs in zip(found, expected, strict=True):
        assert relative_error(ours, theirs) < 1e-3
    with torch.no_grad():
        assert relative_error(convolution(image), direct) < 1e-3


def test_an_impulse_gives_the_mirrored_filter() -> None:
    convolution = WinogradConv3d(48, 48, kernel_size=3, padding=1, bias=False)
    image = torch.zeros(1, 48, 16, 16, 16)
    image[0, 5, 8, 8, 8] = 1
    with torch.no_grad():
        found = convolution(image)[0, 7, 7:10, 7:10, 7:10]
    assert torch.allclose(found, convolution.weight[7, 5].flip(0, 1, 2), atol=1e-5)


def test_threads_do_not_share_what_they_compute_in() -> None:
    torch.manual_seed(3)
    convolution = WinogradConv3d(48, 48, kernel_size=3, padding=1)
    images = [torch.randn(1, 48, 24, 24, 24) for _ in range(2)]

    def convolved(image: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return convolution(image)

    expected = [convolved(image) for image in images]
    with ThreadPoolExecutor(2) as pool:
        for found in (list(pool.map(convolved, images)) for _ in range(5)):
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@torch.no_grad()
def test_new_weights_count_however_they_came() -> None:
    torch.manual_seed(4)
    convolution = WinogradConv3d(48, 48, kernel_size=3, padding=1, bias=False)
    image = torch.randn(1, 48, 16, 16, 16)
    before = convolution(image)
    convolution.weight.mul_(2)
    assert torch.allclose(convolution(image), 2 * before, atol=1e-4)
    convolution.weight.data = convolution.weight * 2
    assert torch.allclose(convolution(image), 4 * before, atol=1e-4)
    convolution.weight.data.mul_(2)  # which torch does not count, as a fused optimiser's steps
    with torch.enable_grad():
        convolution(image)
    assert torch.allclose(convolution(image), 8 * before, atol=1e-4)


def test_small_or_narrow_convolutions_stay_direct() -> None:
    convolution = WinogradConv3d(2, 24, kernel_size=3, padding=1)
    image = torch.randn(1, 2, 8, 8, 8)
    with torch.no_grad():
        direct = functional.conv3d(image, convolution.weight, convolution.bias, padding=1)
        assert torch.equal(convolution(image), direct)


def test_an_accelerated_network_gives_the_same_probabilities() -> None:
    torch.manual_seed(2)
    network = UNet(width=24).eval()
    image = torch.randn(1, 2, 32, 32, 32)
    with torch.no_grad():
        plain = network(image).softmax(1)
        fast = accelerate(network)(image).softmax(1)
    assert sum(isinstance(m, WinogradConv3d) for m in network.modules()) == 11
    assert (plain - fast).abs().max() < 1e-4


def test_changed_weights_are_used_at_once() -> None:
    torch.manual_seed(3)
    convolution = WinogradConv3d(48, 48, kernel_size=3, padding=1)
    image = torch.randn(1, 48, 16, 16, 16)
    with torch.no_grad():
        before = convolution(image)
        convolution.weight.mul_(2)
        convolution.bias.mul_(2)
        assert relative_error(convolution(image), 2 * before) < 1e-3


def test_training_after_inference_in_one_process() -> None:
    convolution = WinogradConv3d(48, 64, kernel_size=3, padding=1)
    image = torch.randn(2, 48, 32, 32, 32)  # larger than any before: new scratch memory
    with torch.inference_mode():
        convolution(image)
    convolution(image).sum().backward()
    assert convolution.weight.grad is not None
