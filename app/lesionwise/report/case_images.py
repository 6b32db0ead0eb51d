"""What a report shows of a case: both scans as grey levels, lesions and probability, cut to the brain.

Nothing beyond a few millimetres around the brain is shown: a report holds no face.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lesionwise.lesions import bounding_box, label_lesions
from lesionwise.scan_pair import ScanPair, Study
from lesionwise.volume import Volume, to_orientation

MARGIN_MM = 6.0
"""Room around the brain."""

WHITE_LEVEL = 1.8
"""What is shown white, in units of the brain's median; FLAIR lesions have 1.3 to 2, fluid 0.2 to 0.5."""

Grey = NDArray[np.uint8]


@dataclass(frozen=True)
class CaseImages:
    """A case as its report shows it; all arrays are (x, y, z) on one grid, axes nearest right, anterior, superior.

    `time1`, `time2`: grey levels, 0 outside the brain and its margin. `probability`: 255 is 1. `labels`: the
    number of the lesion, 0 elsewhere. `affine`: 4 x 4, voxel indices to mm, the space of the outputs.
    `axial_slices`: for each z, the index of that slice in the outputs as they are stored.
    """

    time1: Grey
    time2: Grey
    probability: Grey
    labels: NDArray[np.int32]
    affine: NDArray[np.float64]
    spacing_mm: tuple[float, float, float]
    axial_slices: tuple[int, ...] = ()

    def lesion_ids(self) -> range:
        """Return the numbers of the lesions, 1 the largest."""
        return range(1, int(self.labels.max(initial=0)) + 1)


def case_images(
    study: Study, as_read: ScanPair, mask: NDArray[np.bool_], probability: NDArray[np.float32]
) -> CaseImages:
    """Return what is shown of a case; `mask` and `probability` lie on the grid of `study.output`.

    The scans are shown as they were read, or, after a registration, as they lie on the common grid.
    """
    output = study.output
    labels = label_lesions(mask, output.spacing_mm)
    brain = study.mask_to_output(study.brain.data)
    shown = _grown(brain | mask, output.spacing_mm)
    first, second = (grey_levels(scan, brain, shown) for scan in _scans_on_output(study, as_read))
    box = bounding_box(_turned(shown, output).data)
    assert box is not None  # the brain is not empty
    turned = [_turned(array, output) for array in (first, second, _levels(probability), labels)]
    affine = turned[0].affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [axis.start for axis in box]
    cut: list[NDArray[Any]] = [np.ascontiguousarray(volume.data[box]) for volume in turned]
    stored = _turned(_axial_index(output), output).data[0, 0, box[2]]
    return CaseImages(
        cut[0], cut[1], cut[2], cut[3], affine, turned[0].spacing_mm, tuple(int(k) for k in stored)
    )


def grey_levels(scan: NDArray[np.float32], brain: NDArray[np.bool_], shown: NDArray[np.bool_]) -> Grey:
    """Return a scan as grey levels: 1 is black, `WHITE_LEVEL` times the median of the brain white, 0 where not shown.

    What is shown is never 0, which viewers take for transparent: through it another scan would be seen.
    """
    inside = scan[brain]
    inside = inside[inside > 0]
    level = float(np.median(inside)) if inside.size else 1.0
    levels = np.maximum(_levels(scan / np.float32(WHITE_LEVEL * level)), np.uint8(1))
    return np.where(shown, levels, np.uint8(0))


def _scans_on_output(study: Study, as_read: ScanPair) -> Iterator[NDArray[np.float32]]:
    """Yield both scans on the grid of the outputs, which without a registration is their own."""
    if study.registration is None:
        yield from (as_read.time1.data, as_read.time2.data)
    else:
        yield from (study.to_output(scan.data) for scan in (study.time1, study.time2))


def coarser(images: CaseImages, max_voxels: int) -> CaseImages:
    """Return the images with pairs of voxels joined along the finest axes until there are few enough.

    Scans become means; probability and lesions the largest of what is joined, so that none is lost.
    """
    while images.labels.size > max_voxels:
        axis = int(np.argmin(images.spacing_mm))
        images = _halved(images, axis)
    return images


def _halved(images: CaseImages, axis: int) -> CaseImages:
    def join(array: NDArray[Any], how: Callable[..., NDArray[Any]]) -> NDArray[Any]:
        padding = [(0, size % 2 if at == axis else 0) for at, size in enumerate(array.shape)]
        padded = np.pad(array, padding, mode="edge")
        shape = list(padded.shape)
        shape[axis : axis + 1] = [shape[axis] // 2, 2]
        return how(padded.reshape(shape), axis=axis + 1).astype(array.dtype)

    step = np.ones(3)
    step[axis] = 2
    affine = images.affine @ np.diag([*step, 1.0])
    affine[:3, 3] += images.affine[:3, axis] / 2
    x, y, z = (float(size) for size in np.asarray(images.spacing_mm) * step)
    return CaseImages(
        time1=join(images.time1, np.mean),
        time2=join(images.time2, np.mean),
        probability=join(images.probability, np.max),
        labels=join(images.labels, np.max),
        affine=affine,
        spacing_mm=(x, y, z),
    )


def _levels(array: NDArray[np.float32]) -> Grey:
    """Return 0 to 1 as 0 to 255."""
    return np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)


def _grown(mask: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> NDArray[np.bool_]:
    """Return the mask with the margin around it, along each axis in turn: a box, which costs little."""
    grown = mask
    for axis, spacing in enumerate(spacing_mm):
        line = np.ones(2 * round(MARGIN_MM / spacing) + 1, dtype=np.bool_)
        shape = [1, 1, 1]
        shape[axis] = len(line)
        grown = ndimage.binary_dilation(grown, line.reshape(shape))
    return np.asarray(grown, dtype=np.bool_)


def _axial_index(volume: Volume) -> NDArray[np.int32]:
    """Return for each voxel its index along the axis nearest to inferior-superior."""
    axis = next(at for at, code in enumerate(volume.axis_codes) if code in "IS")
    shape = [1, 1, 1]
    shape[axis] = volume.data.shape[axis]
    index = np.arange(volume.data.shape[axis], dtype=np.int32).reshape(shape)
    return np.ascontiguousarray(np.broadcast_to(index, volume.data.shape))


def _turned(array: NDArray[Any], like: Volume) -> Volume:
    return to_orientation(replace(like, data=array), "RAS")
