"""How much sharper one scan is than another, direction by direction: thick slices and blurred scans against finer ones."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]

EVERY = 3
"""Of the lines along an axis, every third in both other directions is looked at: they are much alike."""

LARGEST_BLUR = 3.0
HALVINGS = 8


def blur_to_match(image: Floats, other: Floats, inside: Mask) -> tuple[float, ...]:
    """Return how much an image must be blurred along each axis to be as smooth as another: standard deviations in voxels.

    `image`, `other`, `inside`: (x, y, z), the last a mask of what is compared. How sharp an image is along an axis is told by
    its second differences over its first ones, which no contrast and no offset changes. 0 where the image is not the sharper
    one, at most LARGEST_BLUR. Noise sharpens, too: denoise before.
    """
    return tuple(
        _blur_of_lines(*(_lines(array, axis) for array in (image, other, inside)))
        for axis in range(inside.ndim)
    )


def _lines(array: NDArray[Any], axis: int) -> NDArray[Any]:
    """Return some lines along an axis, (n, length)."""
    some = np.moveaxis(array, axis, -1)[::EVERY, ::EVERY]
    return some.reshape(-1, some.shape[-1])


def _blur_of_lines(image: NDArray[Any], other: NDArray[Any], inside: NDArray[Any]) -> float:
    wanted = _sharpness(other.astype(np.float32), inside)
    lines = image.astype(np.float32)
    if not _sharpness(lines, inside) > wanted:
        return 0.0
    low, high = 0.0, LARGEST_BLUR
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        is_sharper = _sharpness(ndimage.gaussian_filter1d(lines, middle, axis=-1), inside) > wanted
        low, high = (middle, high) if is_sharper else (low, middle)
    return (low + high) / 2


def _sharpness(lines: NDArray[np.float32], inside: NDArray[np.bool_]) -> float:
    """Return the mean square of second differences over that of first ones, of voxels inside; nan where there are none."""
    first, pairs = np.diff(lines), inside[:, 1:] & inside[:, :-1]
    second, triples = np.diff(first), pairs[:, 1:] & pairs[:, :-1]
    if not first[pairs].any() or not triples.any():
        return float("nan")
    return float(np.mean(np.square(second[triples])) / np.mean(np.square(first[pairs])))
