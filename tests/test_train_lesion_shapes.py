"""Real lesion shapes: from folders of masks and from a packed library."""

import nibabel as nib
import numpy as np
import pytest

from lesionwise.errors import InputError
from train.lesion_shapes import LARGEST_MM3, SMALLEST_VOXELS, read_shapes

LINE, CORNER = np.ones((1, 2, 3), bool), np.array([[[1, 1], [1, 0]], [[1, 1], [1, 1]]], bool)


def test_lesions_of_masks_are_tight_boxes_and_the_smallest_and_largest_are_left_out(tmp_path):
    mask = np.zeros((40, 40, 40), np.uint8)
    mask[2:4, 2:4, 2:4] = CORNER
    mask[10, 10:12, 10:13] = 1
    mask[20, 20, 20 : 20 + SMALLEST_VOXELS - 1] = 1
    mask[24:40, 24:40, 24:40] = 1
    assert LARGEST_MM3 < 16**3
    nib.save(nib.Nifti1Image(mask, np.eye(4)), tmp_path / "mask.nii.gz")
    assert [shape.tolist() for shape in read_shapes([tmp_path])] == [CORNER.tolist(), LINE.tolist()]


def test_a_packed_library_gives_its_shapes_without_those_too_large(tmp_path):
    shapes = [CORNER, np.ones((2, 2, 2), bool), LINE]
    bits = [np.packbits(shape) for shape in shapes]
    file = tmp_path / "library.npz"
    np.savez(
        file,
        shape=[shape.shape for shape in shapes],
        volume_mm3=[7, LARGEST_MM3 + 1, 6],
        offset=np.cumsum([0, *map(len, bits)]),
        bits=np.concatenate(bits),
    )
    assert [shape.tolist() for shape in read_shapes([file])] == [CORNER.tolist(), LINE.tolist()]


def test_what_holds_no_shape_is_refused_and_not_passed_over(tmp_path):
    with pytest.raises(InputError, match="no lesion shape is in it"):
        read_shapes([tmp_path])
    (tmp_path / "library.npz").write_text("text")
    with pytest.raises(InputError, match="no library of lesion shapes"):
        read_shapes([tmp_path / "library.npz"])


def test_masks_of_other_voxels_are_refused(tmp_path):
    mask = np.zeros((8, 8, 8), np.uint8)
    mask[2:4, 2:4, 2:4] = 1
    nib.save(nib.Nifti1Image(mask, np.diag([1, 1, 3, 1])), tmp_path / "mask.nii.gz")
    with pytest.raises(InputError, match="1 x 1 x 3 mm"):
        read_shapes([tmp_path])
