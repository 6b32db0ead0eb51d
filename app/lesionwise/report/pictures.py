"""Still pictures: slices as PNG, lesions as outlines (SVG), chosen so that each lesion is seen.

Pictures lie as radiologists hang them: the patient's right on the left; in sagittal ones the nose on the left.
"""

import base64
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionwise.report.case_images import CaseImages, Grey

PLANES = ("axial", "coronal", "sagittal")
PLANE_AXIS = {"axial": 2, "coronal": 1, "sagittal": 0}

LEFT_EDGE = {"axial": "R", "coronal": "R", "sagittal": "A"}
"""What is on the left of a picture: the patient's right, or what is anterior."""

FIELD_MM = 70.0
"""Width and height of a picture of one lesion."""

MONTAGE_STEP_MM = 7.0
"""Distance of the slices of the montage, before those that a lesion needs are added."""


@dataclass(frozen=True)
class Picture:
    """A slice of both time points, in mm; `outline`: an SVG path in pixels; `numbers`: each lesion's and where it is.

    `slice`: of an axial picture, its index in the outputs as they are stored.
    """

    plane: str
    width_mm: float
    height_mm: float
    pixels: tuple[int, int]
    grey1: Grey
    grey2: Grey
    outline: str
    numbers: tuple[tuple[int, float, float], ...] = ()
    slice: int | None = None

    @property
    def title(self) -> str:
        """What tells the picture from the others of its kind."""
        return self.plane if self.slice is None else f"{self.plane}, slice {self.slice}"

    @property
    def left_edge(self) -> str:
        """The letter that says which side is on the left."""
        return LEFT_EDGE[self.plane]

    @property
    def scale(self) -> tuple[float, float]:
        """The size of a pixel in mm, across and down."""
        return self.width_mm / self.pixels[0], self.height_mm / self.pixels[1]

    @property
    def time1(self) -> str:
        """The slice of time 1 as a data URL, encoded when a page asks for it."""
        return _data_url(self.grey1)

    @property
    def time2(self) -> str:
        """The slice of time 2, likewise: the montage shows it alone."""
        return _data_url(self.grey2)


def lesion_pictures(images: CaseImages, lesion: int) -> list[Picture]:
    """Return a picture in each plane through the slice where the lesion is largest."""
    centre = largest_slices(images.labels == lesion)
    return [_picture(images, plane, centre, images.labels == lesion, FIELD_MM) for plane in PLANES]


def montage(images: CaseImages) -> list[Picture]:
    """Return axial slices from bottom to top, as many as it takes to see every lesion at least once."""
    middle = [size // 2 for size in images.labels.shape]
    return [
        _picture(images, "axial", (middle[0], middle[1], k), images.labels, None)
        for k in montage_slices(images.labels, images.spacing_mm[2])
    ]


def montage_slices(labels: NDArray[np.int32], spacing_mm: float) -> list[int]:
    """Return slices (indices along z) some millimetres apart, and those without which a lesion would not be seen."""
    step = max(1, round(MONTAGE_STEP_MM / spacing_mm))
    depth = labels.shape[2]
    chosen = set(range((depth % step) // 2, depth, step))
    seen = {int(n) for k in chosen for n in np.unique(labels[:, :, k])}
    for lesion in range(1, int(labels.max(initial=0)) + 1):
        if lesion not in seen:
            k = largest_slices(labels == lesion)[2]
            chosen.add(k)
            seen |= {int(n) for n in np.unique(labels[:, :, k])}
    return sorted(chosen)


def largest_slices(mask: NDArray[np.bool_]) -> tuple[int, int, int]:
    """Return for each axis the index of the slice in which most of the mask lies, of equals the middle one."""
    indices = []
    for axis in range(3):
        counts = mask.sum(axis=tuple(other for other in range(3) if other != axis))
        best = np.flatnonzero(counts == counts.max())
        indices.append(int(best[len(best) // 2]))
    return indices[0], indices[1], indices[2]


def outline_path(mask: NDArray[np.bool_]) -> str:
    """Return the edges between inside and outside of a picture (rows, columns) as an SVG path in pixels."""
    padded = np.pad(mask, 1)
    parts = []
    for row, column in np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1]):
        parts.append(f"M{column} {row}h1")
    for row, column in np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1]):
        parts.append(f"M{column} {row}v1")
    return "".join(parts)


def png(picture: Grey) -> bytes:
    """Return grey levels (rows, columns) as a PNG file (W3C, Portable Network Graphics, third edition)."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    height, width = picture.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)  # 8 bits, grey
    upward = np.diff(
        picture, axis=0, prepend=np.zeros((1, width), dtype=np.uint8)
    )  # filter 2: less the row above
    rows = np.concatenate([np.full((height, 1), 2, dtype=np.uint8), upward], axis=1)
    content = zlib.compress(rows.tobytes(), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def _picture(
    images: CaseImages,
    plane: str,
    centre: tuple[int, int, int],
    lesions: NDArray[Any],
    field_mm: float | None,
) -> Picture:
    """Return the slice through `centre`, cut to a field around it or whole; outlines where `lesions` is not 0."""
    axis = PLANE_AXIS[plane]
    across, down = (other for other in range(3) if other != axis)
    cut = [slice(None)] * 2
    if field_mm is not None:
        cut = [_around(centre[a], field_mm, images.spacing_mm[a]) for a in (across, down)]

    def hung(volume: NDArray[Any]) -> NDArray[Any]:
        flat = np.take(volume, centre[axis], axis=axis)
        flat = _cut(flat, cut[0], cut[1])
        return np.ascontiguousarray(flat[::-1, ::-1].T)

    first, second, numbered = (hung(volume) for volume in (images.time1, images.time2, lesions))
    rows, columns = numbered.shape
    places = []
    for number in np.unique(numbered[numbered > 0]):
        row, column = np.argwhere(numbered == number).mean(axis=0)
        places.append((int(number), float(column + 0.5), float(row + 0.5)))
    return Picture(
        plane=plane,
        width_mm=columns * images.spacing_mm[across],
        height_mm=rows * images.spacing_mm[down],
        pixels=(columns, rows),
        grey1=first,
        grey2=second,
        outline=outline_path(numbered > 0),
        numbers=tuple(places),
        slice=images.axial_slices[centre[axis]] if plane == "axial" else None,
    )


def _around(centre: int, field_mm: float, spacing_mm: float) -> slice:
    half = round(field_mm / spacing_mm / 2)
    return slice(centre - half, centre + half)


def _cut(flat: NDArray[Any], first: slice, second: slice) -> NDArray[Any]:
    """Return a part of a slice; what lies beyond its edges is 0."""
    if first.start is None:
        return flat
    part = np.zeros((first.stop - first.start, second.stop - second.start), dtype=flat.dtype)
    low = [max(0, cut.start) for cut in (first, second)]
    high = [min(size, cut.stop) for size, cut in zip(flat.shape, (first, second), strict=True)]
    part[low[0] - first.start : high[0] - first.start, low[1] - second.start : high[1] - second.start] = flat[
        low[0] : high[0], low[1] : high[1]
    ]
    return part


def _data_url(picture: Grey) -> str:
    return "data:image/png;base64," + base64.b64encode(png(picture)).decode()
