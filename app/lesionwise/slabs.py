"""The U-Net over a volume of any size in little memory: the layers at full resolution slab by slab along x.

Nearly all of the network's memory, and most of its work, are in the last layers of the first encoder and in the decoders,
where the doubled coarse image, the skip connection and their normalised join would lie side by side. Here they exist for
a few rows at a time. The result is that of `UNet.forward`: a slab gets the rows around it that its convolutions look at,
and group normalisation takes its statistics from all rows first. The last decoder and the head, whose result is wanted in
the brain alone, leave out what is far from it.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from lesionwise.network import PATCH_SIZE, Decoder, UNet

ROWS = 16
"""Rows of a slab along x, even: more cost memory, fewer compute more rows twice."""

COLUMNS = 32
"""Of a box along y, where only boxes around the brain are computed: fewer follow its outline more closely."""

ROWS_OF_STATISTICS = 4
"""Rows of a slab while statistics are taken: nothing is computed twice there."""

BYTES_PER_VOXEL = {torch.bfloat16: 280, torch.float32: 800}
"""Memory for each voxel at the peak, with room: `python -m benchmarks.bench_network_memory` measures it. Winograd's transform,
which float32 on a CPU is computed with, needs work space of its own."""

MARGIN = 4
"""Voxels around the brain in which the logits are wanted: what is between voxels is interpolated from both sides."""

NO_LESION = (20.0, -20.0)

Box = tuple[slice, slice]
"""Along y and z."""

Rows = Callable[[int, int], tuple[Tensor, ...]]
"""The rows from a first one to before a last one of what a layer takes, (N, channels, rows, y, z), in parts to be joined."""


def logits_in_slabs(
    network: UNet, pair: Tensor, rows: int | None = None, where: Tensor | None = None
) -> Tensor:
    """Return the logits (N, 2, x, y, z) of `network.forward`, for inference.

    `rows`, even: of a slab. `where`, bool (x, y, z): they are wanted there and `MARGIN` voxels around; the last layers, which
    are most of the work, skip what lies outside some boxes around that, and the logits there are `NO_LESION`.
    """
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
    if where is None or not where.any():
        return decode(network.decoder1, x, fine, rows, network.head)
    no_lesion = torch.tensor(NO_LESION, device=x.device).view(1, 2, 1, 1, 1)
    return decode(network.decoder1, x, fine, rows, network.head, boxes(where, rows), no_lesion)


def boxes(where: Tensor, rows: int) -> list[list[Box]]:
    """Return for each slab of a mask (x, y, z) the boxes that hold it and `MARGIN` voxels around; none where it is empty."""
    found: list[list[Box]] = []
    for begin in range(0, where.shape[0], rows):
        slab = where[max(0, begin - MARGIN) : begin + rows + MARGIN].any(dim=0)
        found.append([])
        for first in range(0, where.shape[1], COLUMNS):
            near = slab[max(0, first - MARGIN) : first + COLUMNS + MARGIN]
            y, z = (near.any(dim=axis).nonzero().flatten().tolist() for axis in (1, 0))
            if y:
                along_y = _with_margin(y, max(0, first - MARGIN))
                last = min(first + COLUMNS, where.shape[1], along_y.stop)
                found[-1].append((slice(max(first, along_y.start), last), _with_margin(z)))
    return found


def _with_margin(places: list[int], offset: int = 0) -> slice:
    return slice(max(0, places[0] + offset - MARGIN), places[-1] + offset + 1 + MARGIN)


def encode(encoder: nn.Sequential, pair: Tensor, rows: int) -> Tensor:
    """Return what the first encoder makes of (N, 2, x, y, z)."""
    convolution, activation, *normed = encoder
    x = activation(convolution(pair))
    return _normed(normed, lambda first, last: (x[:, :, first:last],), x.shape, x.dtype, rows)


def in_turn(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    """Return what layers make of an image, but normalise it with statistics that are right whatever the memory's order.

    torch's own group normalisation takes variances of images whose channels come last from sums in float32; over a whole
    brain these are wrong enough to change lesions.
    """
    for layer in layers:
        if isinstance(layer, nn.GroupNorm):
            scale, shift = _scale_and_shift(layer, lambda first, last: (x[:, :, first:last],), x.shape)  # noqa: B023
            x = torch.addcmul(shift.to(x.dtype), x, scale.to(x.dtype))
        else:
            x = layer(x)
    return x


def decode(
    decoder: Decoder,
    coarse: Tensor,
    skip: Tensor,
    rows: int,
    head: nn.Module | None = None,
    wanted: Sequence[Sequence[Box]] = (),
    elsewhere: Tensor | None = None,
) -> Tensor:
    """Return what a decoder, and a 3x3x3 `head` behind it, make of (N, c, x/2, y/2, z/2) and (N, s, x, y, z).

    `wanted`: the boxes of each slab that are computed; outside them the result is `elsewhere`.
    """
    shape = torch.Size((skip.shape[0], coarse.shape[1] + skip.shape[1], *skip.shape[2:]))

    def both(first: int, last: int) -> tuple[Tensor, Tensor]:
        # A fine row lies between two coarse ones; at an end of the volume the last coarse row counts alone, as upstream.
        low, high = max(0, (first - 1) // 2), min(coarse.shape[2], last // 2 + 1)
        with torch.autocast(coarse.device.type, enabled=False):
            doubled = decoder.upsample(coarse[:, :, low:high])
        return doubled[:, :, first - 2 * low : last - 2 * low], skip[:, :, first:last]

    layers = [*decoder.convolution, *([head] if head is not None else [])]
    return _normed(layers, both, shape, skip.dtype, rows, wanted, elsewhere)


def _normed(
    layers: list[nn.Module],
    rows_of: Rows,
    shape: torch.Size,
    dtype: torch.dtype,
    rows: int,
    wanted: Sequence[Sequence[Box]] = (),
    elsewhere: Tensor | None = None,
) -> Tensor:
    """Return (N, c, x, y, z): a group normalisation and the layers behind it, of an input of a shape, slab by slab.

    Statistics are those of the whole input. `wanted` and `elsewhere`: see `decode`.
    """
    normalisation, *behind = layers
    scale, shift = (part.to(dtype) for part in _scale_and_shift(normalisation, rows_of, shape))
    convolutions = [layer for layer in behind if isinstance(layer, nn.Conv3d)]
    halo = len(convolutions)  # rows that the 3x3x3 convolutions look at
    # Filled part by part: a list of them, joined at the end, would lie beside the whole.
    result = torch.empty(
        (shape[0], convolutions[-1].out_channels, *shape[2:]),
        dtype=dtype,
        device=scale.device,
        memory_format=torch.channels_last_3d,
    )
    if elsewhere is not None:
        result.copy_(elsewhere)
    whole: list[Box] = [(slice(0, shape[3]), slice(0, shape[4]))]
    for number, begin in enumerate(range(0, shape[2], rows)):
        boxes_of_slab = wanted[number] if wanted else whole
        if not boxes_of_slab:
            continue
        slab = slice(begin, min(shape[2], begin + rows))
        x_with, x_inside = _with_halo(slab, halo, shape[2])
        parts = rows_of(x_with.start, x_with.stop)
        for along_y, along_z in boxes_of_slab:
            y_with, y_inside = _with_halo(along_y, halo, shape[3])
            z_with, z_inside = _with_halo(along_z, halo, shape[4])
            cut = [part[..., y_with, z_with] for part in parts]
            x = torch.addcmul(shift, torch.cat(cut, dim=1) if len(cut) > 1 else cut[0], scale)
            for layer in behind:
                x = layer(x)
            result[:, :, slab, along_y, along_z] = x[:, :, x_inside, y_inside, z_inside]
    return result


def _with_halo(span: slice, halo: int, length: int) -> tuple[slice, slice]:
    """Return a span and so much around it that lies within a length, and where in that the span is."""
    stop = min(span.stop, length)
    first, last = max(0, span.start - halo), min(length, stop + halo)
    return slice(first, last), slice(span.start - first, stop - first)


def _scale_and_shift(normalisation: nn.Module, rows_of: Rows, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """Return group normalisation of the whole input as a factor and a summand, each (N, channels, 1, 1, 1)."""
    assert isinstance(normalisation, nn.GroupNorm)
    n, channels, length = shape[:3]
    groups = normalisation.num_groups
    total = squares = torch.zeros(n, channels, dtype=torch.float64, device=normalisation.weight.device)
    for begin in range(0, length, ROWS_OF_STATISTICS):
        sums = [_sums(part) for part in rows_of(begin, min(length, begin + ROWS_OF_STATISTICS))]
        total = total + torch.cat([of_part for of_part, _ in sums], dim=1)
        squares = squares + torch.cat([of_part for _, of_part in sums], dim=1)
    count = shape[2:].numel() * channels // groups
    mean = total.view(n, groups, -1).sum(dim=2, keepdim=True) / count
    variance = squares.view(n, groups, -1).sum(dim=2, keepdim=True) / count - mean**2
    factor = (variance.clamp_min(0) + normalisation.eps).rsqrt()
    scale = factor * normalisation.weight.view(1, groups, -1)
    shift = normalisation.bias.view(1, groups, -1) - mean * scale
    return scale.reshape(n, -1, 1, 1, 1), shift.reshape(n, -1, 1, 1, 1)


def _sums(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of each channel of (N, c, x, y, z), and that of its squares: (N, c), float64.

    Only along one axis in float32: the many equal voxels outside the brain add up to what that rounds away.
    """
    values = x.float().movedim(1, -1)  # the order in memory: sums run over whole rows of channels
    total = values.sum(dim=3).sum(dim=(1, 2), dtype=torch.float64)
    squared = values.square() if x.dtype == torch.float32 else values.square_()
    return total, squared.sum(dim=3).sum(dim=(1, 2), dtype=torch.float64)
