"""The U-Net over a volume of any size in little memory: the layers at full resolution slab by slab along x.

Nearly all of the network's memory, and most of its work, are in the last layers of the first encoder and in the decoders,
where the doubled coarse image, the skip connection and their normalised join would lie side by side. Here they exist for
a few rows at a time. The result is that of `UNet.forward`: a slab gets the rows around it that its convolutions look at,
and group normalisation takes its statistics from all rows first.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from lesionwise.network import PATCH_SIZE, Decoder, UNet

ROWS = 16
"""Rows of a slab along x, even: more cost memory, fewer compute more rows twice."""

ROWS_OF_STATISTICS = 4
"""Rows of a slab while statistics are taken: nothing is computed twice there."""

BYTES_PER_VOXEL = {torch.bfloat16: 280, torch.float32: 800}
"""Memory for each voxel at the peak, with room: `python -m benchmarks.bench_network_memory` measures it. Winograd's transform,
which float32 on a CPU is computed with, needs work space of its own."""

Rows = Callable[[int, int], Tensor]
"""The rows from a first one to before a last one of what a layer takes, (N, channels, rows, y, z)."""


def logits_in_slabs(network: UNet, pair: Tensor, rows: int | None = None) -> Tensor:
    """Return the logits (N, 2, x, y, z) of `network.forward`, for inference. `rows`, even: of a slab."""
    if rows is None:  # a small volume fits as it is
        rows = ROWS if pair.shape[2] > PATCH_SIZE else PATCH_SIZE
    fine = encode(network.encoder1, pair, rows)
    pool, *behind = network.encoder2
    with torch.autocast(pair.device.type, enabled=False):  # would copy `fine` to float32; a maximum is exact
        middle = pool(fine)
    middle = in_turn(behind, middle)
    coarse = in_turn(network.encoder3, middle)
    x = in_turn(network.bottleneck, coarse)
    x = decode(network.decoder3, x, coarse, rows)
    x = decode(network.decoder2, x, middle, rows)
    return decode(network.decoder1, x, fine, rows, network.head)


def encode(encoder: nn.Sequential, pair: Tensor, rows: int) -> Tensor:
    """Return what the first encoder makes of (N, 2, x, y, z)."""
    convolution, activation, *normed = encoder
    x = activation(convolution(pair))
    return _normed(normed, lambda first, last: x[:, :, first:last], x.shape, x.dtype, rows)


def in_turn(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    """Return what layers make of an image, but normalise it with statistics that are right whatever the memory's order.

    torch's own group normalisation takes variances of images whose channels come last from sums in float32; over a whole
    brain these are wrong enough to change lesions.
    """
    for layer in layers:
        if isinstance(layer, nn.GroupNorm):
            scale, shift = _scale_and_shift(layer, lambda first, last: x[:, :, first:last], x.shape)  # noqa: B023
            x = torch.addcmul(shift.to(x.dtype), x, scale.to(x.dtype))
        else:
            x = layer(x)
    return x


def decode(
    decoder: Decoder, coarse: Tensor, skip: Tensor, rows: int, head: nn.Module | None = None
) -> Tensor:
    """Return what a decoder, and a 3x3x3 `head` behind it, make of (N, c, x/2, y/2, z/2) and (N, s, x, y, z)."""
    shape = torch.Size((skip.shape[0], coarse.shape[1] + skip.shape[1], *skip.shape[2:]))

    def joined(first: int, last: int) -> Tensor:
        # A fine row lies between two coarse ones; at an end of the volume the last coarse row counts alone, as upstream.
        low, high = max(0, (first - 1) // 2), min(coarse.shape[2], last // 2 + 1)
        with torch.autocast(coarse.device.type, enabled=False):
            doubled = decoder.upsample(coarse[:, :, low:high])
        return torch.cat([doubled[:, :, first - 2 * low : last - 2 * low], skip[:, :, first:last]], dim=1)

    layers = [*decoder.convolution, *([head] if head is not None else [])]
    return _normed(layers, joined, shape, skip.dtype, rows)


def _normed(
    layers: list[nn.Module], rows_of: Rows, shape: torch.Size, dtype: torch.dtype, rows: int
) -> Tensor:
    """Return (N, c, x, y, z): a group normalisation and the layers behind it, of an input of a shape, slab by slab."""
    normalisation, *behind = layers
    scale, shift = (part.to(dtype) for part in _scale_and_shift(normalisation, rows_of, shape))
    halo = sum(isinstance(layer, nn.Conv3d) for layer in behind)  # rows that the 3x3x3 convolutions look at
    length = shape[2]
    result: Tensor | None = (
        None  # filled slab by slab: a list of slabs, joined at the end, would lie beside the whole
    )
    for begin in range(0, length, rows):
        end = min(length, begin + rows)
        first, last = max(0, begin - halo), min(length, end + halo)
        x = torch.addcmul(shift, rows_of(first, last), scale)
        for layer in behind:
            x = layer(x)
        if result is None:
            layout = torch.channels_last_3d
            result = torch.empty(
                (*x.shape[:2], *shape[2:]), dtype=x.dtype, device=x.device, memory_format=layout
            )
        result[:, :, begin:end] = x[:, :, begin - first : end - first]
    assert result is not None
    return result


def _scale_and_shift(normalisation: nn.Module, rows_of: Rows, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """Return group normalisation of the whole input as a factor and a summand, each (N, channels, 1, 1, 1)."""
    assert isinstance(normalisation, nn.GroupNorm)
    n, channels, length = shape[:3]
    groups = normalisation.num_groups
    total = squares = torch.zeros(n, channels, dtype=torch.float64, device=normalisation.weight.device)
    for begin in range(0, length, ROWS_OF_STATISTICS):
        x = rows_of(begin, min(length, begin + ROWS_OF_STATISTICS)).float()
        # In float64: the many equal voxels outside the brain add up to what float32 rounds away.
        total = total + x.sum(dim=(2, 3, 4), dtype=torch.float64)
        squares = squares + x.square().sum(dim=(2, 3, 4), dtype=torch.float64)
    count = shape[2:].numel() * channels // groups
    mean = total.view(n, groups, -1).sum(dim=2, keepdim=True) / count
    variance = squares.view(n, groups, -1).sum(dim=2, keepdim=True) / count - mean**2
    factor = (variance.clamp_min(0) + normalisation.eps).rsqrt()
    scale = factor * normalisation.weight.view(1, groups, -1)
    shift = normalisation.bias.view(1, groups, -1) - mean * scale
    return scale.reshape(n, -1, 1, 1, 1), shift.reshape(n, -1, 1, 1, 1)
