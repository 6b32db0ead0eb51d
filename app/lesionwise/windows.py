"""Where the network's windows lie in a volume, and how much each voxel of a window counts."""

from itertools import product

import numpy as np
from numpy.typing import NDArray

Window = tuple[slice, ...]


def window_starts(length: int, size: int, stride: int) -> list[int]:
    """Return where windows begin along an axis: the fewest that are at most `stride` apart, evenly spaced.

    Even spacing as in nnU-Net, rather than a last window pushed back: no part of the axis is seen more
    often than needed. Raises `ValueError` where the axis is shorter than a window.
    """
    if length < size:
        raise ValueError(f"an axis of {length} voxels does not hold a window of {size}")
    if not 1 <= stride <= size:
        raise ValueError(f"a stride of {stride} voxels is not within 1 to {size}")
    steps = -(-(length - size) // stride)  # rounded up
    return [round(i * (length - size) / steps) for i in range(steps + 1)] if steps else [0]


def window_positions(shape: tuple[int, ...], sizes: tuple[int, ...], overlap: float) -> list[Window]:
    """Return the windows of edges `sizes` that cover a volume (x, y, z), in the order of its axes.

    `overlap`, 0 to below 1: the least share of a window's edge that neighbours have in common.
    """
    starts = [
        window_starts(length, size, max(1, round(size * (1 - overlap))))
        for length, size in zip(shape, sizes, strict=True)
    ]
    return [
        tuple(slice(begin, begin + size) for begin, size in zip(corner, sizes, strict=True))
        for corner in product(*starts)
    ]


def windows_with(mask: NDArray[np.bool_], windows: list[Window]) -> list[Window]:
    """Return the windows that hold any of a mask."""
    return [window for window in windows if mask[window].any()]


def gaussian_weights(sizes: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the weights (x, y, z) of a window's voxels: a Gaussian, 1 at most, with sigma an eighth of each edge.

    The network knows most about the middle of a window. The width is nnU-Net's; no weight is below a
    thousandth of the greatest, so that corners that one window alone sees keep a usable sum.
    """
    lines = []
    for axis, size in enumerate(sizes):
        distance = np.arange(size) - (size - 1) / 2
        line = np.exp(-0.5 * (distance / (size / 8)) ** 2)
        lines.append(line.reshape([-1 if axis == other else 1 for other in range(len(sizes))]))
    cube = np.prod(np.broadcast_arrays(*lines), axis=0)
    weights: NDArray[np.float32] = np.maximum(cube / cube.max(), 1e-3).astype(np.float32)
    return weights
