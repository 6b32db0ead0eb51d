"""A drop-in for `torch.nn.Conv3d` (3x3x3, padding 1) that convolves by Winograd's transform where that is faster."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import local
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lesionwise.winograd.tiles import POINTS, TILE, data_to_points, gradient_to_points, points_to_result

# Tiles handled at once: their points (216 values each per channel) should stay near the processor's cache.
_TILES_AT_ONCE = 512
# Measured on two AVX2 cores: below these, the transforms cost more than the multiplications that they save.
_SMALLEST_EDGE = 16
_SMALLEST_CHANNELS = 24
_SMALLEST_FORWARD_WORK = 48 * 48
# 3 filter taps -> 6 points (the matrix G of Lavin and Gray).
_FILTER = torch.tensor(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)
_scratch = local()


class WinogradConv3d(nn.Conv3d):
    """A 3x3x3 convolution with padding 1 and the parameters of `nn.Conv3d`, for float32 on a CPU.

    Without gradients the transformed filters are kept until the weights change, or are trained.
    """

    _prepared: tuple[tuple[int, int], Tensor] | None = None

    def forward(self, image: Tensor) -> Tensor:
        """Return (n, out_channels, x, y, z) from (n, in_channels, x, y, z)."""
        channels = min(self.in_channels, self.out_channels)
        if (
            channels < _SMALLEST_CHANNELS
            or min(image.shape[2:]) < _SMALLEST_EDGE
            or image.dtype != torch.float32
        ):
            return super().forward(image)
        if torch.is_grad_enabled():
            self._prepared = None  # what trains need not count its changes
            result: Tensor = _Convolution.apply(image, self.weight)  # type: ignore[no-untyped-call]
        elif _forward_pays(self.weight):
            # Counts changes in place, as by loading; and where the numbers lie, as `weight.data =` changes it.
            version = self.weight._version, self.weight.data_ptr()
            if self._prepared is None or self._prepared[0] != version:
                self._prepared = version, _filter_points(self.weight)
            result = _convolve(_channels_last(image), self._prepared[1]).permute(0, 4, 1, 2, 3)
        else:
            return super().forward(image)
        return result if self.bias is None else result + self.bias.view(1, -1, 1, 1, 1)


def accelerate(network: nn.Module) -> nn.Module:
    """Let every 3x3x3 convolution of a network use Winograd's transform; changes the network in place and returns it."""
    for module in network.modules():
        if type(module) is nn.Conv3d and module.kernel_size == (3, 3, 3) and module.padding == (1, 1, 1):
            module.__class__ = WinogradConv3d
    return network


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(image, weight)
        if not _forward_pays(weight):
            return functional.conv3d(image, weight, padding=1)
        return _convolve(_channels_last(image), _filter_points(weight)).permute(0, 4, 1, 2, 3)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        image, weight = ctx.saved_tensors
        gradient = _channels_last(gradients[0])
        of_image = of_weight = None
        if ctx.needs_input_grad[0]:
            mirrored = weight.flip(2, 3, 4).transpose(0, 1)
            of_image = _convolve(gradient, _filter_points(mirrored)).permute(0, 4, 1, 2, 3)
        if ctx.needs_input_grad[1]:
            of_weight = _weight_gradient(_channels_last(image), gradient)
        return of_image, of_weight


def _forward_pays(weight: Tensor) -> bool:
    return weight.shape[0] * weight.shape[1] >= _SMALLEST_FORWARD_WORK


def _channels_last(image: Tensor) -> Tensor:
    """Return (n, x, y, z, channels), contiguous; free for tensors in torch's channels_last_3d format."""
    return image.detach().permute(0, 2, 3, 4, 1).contiguous()


@torch.no_grad()
def _filter_points(weight: Tensor) -> Tensor:
    """Return the filters' points, (216, in, out), from (out, in, 3, 3, 3)."""
    out_channels, in_channels = weight.shape[:2]
    points = torch.einsum("ia,oqabc->iqobc", _FILTER, weight)
    points = torch.einsum("jb,iqobc->ijqoc", _FILTER, points)
    points = torch.einsum("kc,ijqoc->ijkqo", _FILTER, points)
    return points.reshape(POINTS**3, in_channels, out_channels)


def _convolve(image: Tensor, filters: Tensor) -> Tensor:
    """Return (n, x, y, z, out) from an image (n, x, y, z, in) and filter points (216, in, out)."""
    _, in_channels, out_channels = filters.shape
    result = torch.empty((*image.shape[:4], out_channels))
    for first, last in _portions(image):
        points = _scratch_like("data", last - first, in_channels)
        products = _scratch_like("products", last - first, out_channels)
        _in_threads(data_to_points, image, points, first, last)
        torch.bmm(points, filters, out=products)
        _in_threads(points_to_result, products, result, first, last)
    return result


def _weight_gradient(image: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient of the filters, (out, in, 3, 3, 3), from channels-last image and gradient of the result."""
    in_channels, out_channels = image.shape[4], gradient.shape[4]
    total = torch.zeros(POINTS**3, in_channels, out_channels)
    for first, last in _portions(image):
        points = _scratch_like("data", last - first, in_channels)
        products = _scratch_like("products", last - first, out_channels)
        _in_threads(data_to_points, image, points, first, last)
        _in_threads(gradient_to_points, gradient, products, first, last)
        total.baddbmm_(points.transpose(1, 2), products)
    cube = total.reshape(POINTS, POINTS, POINTS, in_channels, out_channels)
    cube = torch.einsum("ia,ijkqo->ajkqo", _FILTER, cube)
    cube = torch.einsum("jb,ajkqo->abkqo", _FILTER, cube)
    return torch.einsum("kc,abkqo->oqabc", _FILTER, cube)


def _portions(image: Tensor) -> list[tuple[int, int]]:
    tiles = int(np.prod([image.shape[0], *[-(-n // TILE) for n in image.shape[1:4]]]))
    return [(first, min(tiles, first + _TILES_AT_ONCE)) for first in range(0, tiles, _TILES_AT_ONCE)]


def _scratch_like(name: str, tiles: int, channels: int) -> Tensor:
    """Return (216, tiles, channels) of this thread's memory, kept between calls: fresh pages cost as much as arithmetic."""
    count = POINTS**3 * tiles * channels
    kept: Tensor | None = getattr(_scratch, name, None)
    if kept is None or kept.numel() < count:
        with torch.inference_mode(False):  # else training could not write into what inference has made
            kept = torch.empty(count)
        setattr(_scratch, name, kept)
    return kept[:count].view(POINTS**3, tiles, channels)


def _in_threads(kernel: Callable[..., None], source: Tensor, target: Tensor, first: int, last: int) -> None:
    """Share the tiles out among as many threads as torch itself uses."""
    threads = torch.get_num_threads()
    a, b = source.numpy(), target.numpy()
    cuts = [first + (last - first) * k // threads for k in range(threads + 1)]
    if threads == 1:
        kernel(a, b, first, last, first)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda k: kernel(a, b, cuts[k], cuts[k + 1], first), range(threads)))
