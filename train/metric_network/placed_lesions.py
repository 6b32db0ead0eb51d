"""Lesions of a mask as separate pieces that can be moved, grown, shrunk, split and joined. Pure functions; 1 mm voxels."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Placed:
    """A lesion at its place: a tight bool box (x, y, z) and where it begins; parts may lie outside the patch."""

    mask: Mask
    start: tuple[int, ...]

    @property
    def centre(self) -> NDArray[np.float64]:
        """The middle of the box in voxels of the patch."""
        return np.asarray(self.start) + (np.asarray(self.mask.shape) - 1) / 2


def lesions_of(mask: Mask) -> list[Placed]:
    """Return the face-connected components of a mask (x, y, z)."""
    labels, _ = ndimage.label(mask)
    return [
        Placed(labels[box] == number, tuple(axis.start for axis in box))
        for number, box in enumerate(ndimage.find_objects(labels), start=1)
    ]


def paint(lesions: Iterable[Placed], size: int) -> Mask:
    """Return the mask (size, size, size) of all lesions together; what lies outside is cut."""
    mask = np.zeros((size,) * 3, dtype=np.bool_)
    for lesion in lesions:
        inside, cut = [], []
        for start, length in zip(lesion.start, lesion.mask.shape, strict=True):
            low, high = max(start, 0), min(start + length, size)
            inside.append(slice(low, max(low, high)))
            cut.append(slice(low - start, max(low, high) - start))
        mask[tuple(inside)] |= lesion.mask[tuple(cut)]
    return mask


def shifted(lesion: Placed, offset_voxels: Iterable[float]) -> Placed:
    """Return the lesion moved along each axis, by whole voxels."""
    return Placed(lesion.mask, tuple(s + round(o) for s, o in zip(lesion.start, offset_voxels, strict=True)))


def grown(lesion: Placed, voxels: int) -> Placed:
    """Return the lesion with `voxels` layers of face neighbours more."""
    mask = ndimage.binary_dilation(np.pad(lesion.mask, voxels), iterations=voxels)
    return Placed(mask, tuple(s - voxels for s in lesion.start))


def shrunk(lesion: Placed, voxels: int) -> Placed:
    """Return the lesion without its outer `voxels` layers; a lesion no thicker than that stays as it is."""
    mask = ndimage.binary_erosion(lesion.mask, iterations=voxels)
    return Placed(mask, lesion.start) if mask.any() else lesion


def split(lesion: Placed, axis: int, gap_voxels: int) -> Placed:
    """Return the lesion without the layers in the middle of an axis: two pieces where it was one."""
    length = lesion.mask.shape[axis]
    if length < gap_voxels + 4:
        return lesion
    mask = lesion.mask.copy()
    cut: list[slice] = [slice(None)] * 3
    cut[axis] = slice((length - gap_voxels) // 2, (length - gap_voxels) // 2 + gap_voxels)
    mask[tuple(cut)] = False
    return Placed(mask, lesion.start)


def bridge(first: Placed, second: Placed) -> Placed:
    """Return a bar two voxels thick from the middle of one lesion to the other's, which joins them."""
    ends = np.rint([first.centre, second.centre]).astype(int)
    steps = 2 * int(np.abs(ends[1] - ends[0]).max()) + 1
    line = np.rint(np.linspace(ends[0], ends[1], steps)).astype(int)
    start = line.min(axis=0)
    mask = np.zeros(np.ptp(line, axis=0) + 2, dtype=np.bool_)
    for corner in np.ndindex(2, 2, 2):
        mask[tuple((line - start + corner).T)] = True
    return Placed(mask, tuple(int(s) for s in start))


def nearest(lesion: Placed, others: Sequence[Placed]) -> Placed:
    """Return the lesion of `others`, which must not be empty, whose middle is nearest."""
    distances = [float(np.abs(other.centre - lesion.centre).max()) for other in others]
    return others[int(np.argmin(distances))]
