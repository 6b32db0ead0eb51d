"""Real lesion shapes for the simulation: a packed library, or the lesions of mask files."""

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

# Larger lesions are confluent ones that grew over years: not what is new between two visits.
LARGEST_MM3 = 3000
SMALLEST_VOXELS = 4


def read_shapes(sources: Sequence[Path]) -> list[np.ndarray]:
    """Return lesion shapes as tight bool boxes (x, y, z) of 1 mm voxels.

    Args:
        sources: packed libraries (`.npz` with `shape`, `volume_mm3`, `offset` and `bits`, as the Slicer extension
            MS Lesion Simulator's database was repacked) or folders of `.nii.gz` lesion masks of 1 mm voxels.
    """
    shapes: list[np.ndarray] = []
    for source in sources:
        shapes += _packed(source) if source.suffix == ".npz" else _from_masks(source)
    return shapes


def _packed(file: Path) -> list[np.ndarray]:
    with np.load(file) as library:
        sizes, volumes, offset, bits = (library[n] for n in ("shape", "volume_mm3", "offset", "bits"))
    return [
        np.unpackbits(bits[offset[k] : offset[k + 1]])[: sizes[k].prod()].reshape(sizes[k]).astype(bool)
        for k in np.flatnonzero(volumes <= LARGEST_MM3)
    ]


def _from_masks(folder: Path) -> list[np.ndarray]:
    shapes = []
    for file in sorted(folder.glob("*.nii.gz")):
        labels, _ = ndimage.label(np.asarray(nib.load(file).dataobj) > 0)
        for number, box in enumerate(ndimage.find_objects(labels), start=1):
            shape = labels[box] == number
            if SMALLEST_VOXELS <= shape.sum() <= LARGEST_MM3:
                shapes.append(shape)
    return shapes
