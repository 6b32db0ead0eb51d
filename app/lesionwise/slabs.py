"""The U-Net over a volume of any size in little memory: its decoders, slab by slab along x.

Two thirds of the network's work, and nearly all of its memory, are in the decoders, where the doubled coarse image, the
skip connection and their normalised join would lie side by side. Here they exist for a few rows at a time. The result
is that of `UNet.forward`: a slab gets the rows around it that its convolutions look at, and group normalisation takes
its statistics from all rows first.
"""

import torch
from torch import Tensor, nn

from lesionwise.network import PATCH_SIZE, Decoder, UNet

ROWS = 32
"""Rows of a slab along x, even: more cost memory, fewer compute more rows twice."""

BYTES_PER_VOXEL = 600
"""Memory for each voxel at the peak, with room: 480 were measured with the published width in bfloat16."""


def logits_in_slabs(network: UNet, pair: Tensor, rows: int | None = None) -> Tensor:
    """Return the logits (N, 2, x, y, z) of `network.forward`, for inference. `rows`, even: of a slab."""
    if rows is None:  # a small volume fits as it is
        rows = ROWS if pair.shape[2] > PATCH_SIZE else PATCH_SIZE
    fine = network.encoder1(pair)
    middle = network.encoder2(fine)
    coarse = network.encoder3(middle)
    x = network.bottleneck(coarse)
    x = decode(network.decoder3, x, coarse, rows)
    x = decode(network.decoder2, x, middle, rows)
    return decode(network.decoder1, x, fine, rows, network.head)


def decode(
    decoder: Decoder, coarse: Tensor, skip: Tensor, rows: int, head: nn.Module | None = None
) -> Tensor:
    """Return what a decoder, and a 3x3x3 `head` behind it, make of (N, c, x/2, y/2, z/2) and (N, s, x, y, z)."""
    length = skip.shape[2]
    normalisation, *convolution = decoder.convolution
    scale, shift = _scale_and_shift(normalisation, decoder.upsample, coarse, skip, rows)
    halo = 1 if head is None else 2  # rows that the convolutions look at
    slabs = []
    for begin in range(0, length, rows):
        end = min(length, begin + rows)
        first, last = max(0, begin - halo), min(length, end + halo)
        x = _joined(decoder.upsample, coarse, skip, first, last)
        x = torch.addcmul(shift, x, scale)
        for layer in (*convolution, *([head] if head is not None else [])):
            x = layer(x)
        slabs.append(x[:, :, begin - first : end - first])
    return torch.cat(slabs, dim=2)


def _joined(upsample: nn.Module, coarse: Tensor, skip: Tensor, first: int, last: int) -> Tensor:
    """Return rows `first` to `last` - 1 of the doubled coarse image and the skip connection, joined."""
    # A fine row lies between two coarse ones; at an end of the volume the last coarse row counts alone, as upstream.
    low, high = max(0, (first - 1) // 2), min(coarse.shape[2], last // 2 + 1)
    with torch.autocast(coarse.device.type, enabled=False):
        doubled = upsample(coarse[:, :, low:high])
    return torch.cat([doubled[:, :, first - 2 * low : last - 2 * low], skip[:, :, first:last]], dim=1)


def _scale_and_shift(
    normalisation: nn.Module, upsample: nn.Module, coarse: Tensor, skip: Tensor, rows: int
) -> tuple[Tensor, Tensor]:
    """Return group normalisation of the whole join as a factor and a summand, each (N, channels, 1, 1, 1)."""
    assert isinstance(normalisation, nn.GroupNorm)
    n, groups = skip.shape[0], normalisation.num_groups
    total = squares = torch.zeros(n, normalisation.num_channels, dtype=torch.float64, device=skip.device)
    for begin in range(0, skip.shape[2], rows):
        x = _joined(upsample, coarse, skip, begin, min(skip.shape[2], begin + rows)).float()
        total = total + x.sum(dim=(2, 3, 4))
        squares = squares + x.square().sum(dim=(2, 3, 4))
    count = skip[0, 0].numel() * normalisation.num_channels // groups
    mean = total.view(n, groups, -1).sum(dim=2, keepdim=True) / count
    variance = squares.view(n, groups, -1).sum(dim=2, keepdim=True) / count - mean**2
    factor = (variance.clamp_min(0) + normalisation.eps).rsqrt()
    scale = factor * normalisation.weight.view(1, groups, -1)
    shift = normalisation.bias.view(1, groups, -1) - mean * scale
    return scale.reshape(n, -1, 1, 1, 1).to(skip.dtype), shift.reshape(n, -1, 1, 1, 1).to(skip.dtype)
