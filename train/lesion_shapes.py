"""Real lesion shapes for the simulation: a packed library, or the lesions of mask files."""

from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lesionwise.errors import InputError
from lesionwise.volume import read_mask

# Larger lesions are confluent ones that grew over years: not what is new between two visits.
LARGEST_MM3 = 3000
SMALLEST_VOXELS = 4


def read_shapes(sources: Sequence[Path]) -> list[np.ndarray]:
    """Return lesion shapes as tight bool boxes (x, y, z) of 1 mm voxels.

    Args:
        sources: packed libraries (`.npz` with `shape`, `volume_mm3`, `offset` and `bits`, as the Slicer extension
            MS Lesion Simulator's database was repacked) or folders of `.nii.gz` lesion masks of 1 mm voxels.

    Raises:
        InputError: a source is neither, holds no shape, or masks have other voxels.
    """
    shapes: list[np.ndarray] = []
    for source in sources:
        found = _packed(source) if source.suffix == ".npz" else _from_masks(source)
        if not found:
            raise InputError(
                f"{source}: no lesion shape is in it; name a library (.npz) or a folder of lesion masks (.nii.gz)"
            )
        shapes += found
    return shapes


def read_1mm_mask(file: Path) -> NDArray[np.bool_]:
    """Return a mask (x, y, z).

    Raises:
        InputError: it is none, or its voxels are not of 1 mm.
    """
    mask = read_mask(file)
    if not np.allclose(mask.spacing_mm, 1, atol=0.01):
        size = " x ".join(f"{mm:.3g}" for mm in mask.spacing_mm)
        raise InputError(f"{file}: its voxels are {size} mm; resample the mask to 1 mm")
    return np.asarray(mask.data)


def _packed(file: Path) -> list[np.ndarray]:
    try:
        with np.load(file) as library:
            sizes, volumes, offset, bits = (library[n] for n in ("shape", "volume_mm3", "offset", "bits"))
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise InputError(f"{file}: this is no library of lesion shapes ({error}); name one") from error
    return [
        np.unpackbits(bits[offset[k] : offset[k + 1]])[: sizes[k].prod()].reshape(sizes[k]).astype(bool)
        for k in np.flatnonzero(volumes <= LARGEST_MM3)
    ]


def _from_masks(folder: Path) -> list[np.ndarray]:
    shapes = []
    for file in sorted(folder.glob("*.nii.gz")):
        labels, _ = ndimage.label(read_1mm_mask(file))
        for number, box in enumerate(ndimage.find_objects(labels), start=1):
            shape = labels[box] == number
            if SMALLEST_VOXELS <= shape.sum() <= LARGEST_MM3:
                shapes.append(shape)
    return shapes
