"""Numbers and masks are read as they are stored, and reading takes little more memory than they do."""

import tracemalloc

import nibabel as nib
import numpy as np
import pytest
from small_volume import SHAPE, altered, image, numbers, saved

from lesionwise import nifti
from lesionwise.errors import InputError
from lesionwise.volume import read_mask, read_volume


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", ">i2", ">f4"])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_numbers_survive_every_type_and_byte_order(tmp_path, dtype, name):
    data = (numbers() % 120).astype(dtype)
    made = image(data)
    if dtype.startswith(">"):
        made = nib.Nifti1Image(data, made.affine, header=made.header.as_byteswapped(">"), dtype=data.dtype)
    volume = read_volume(saved(tmp_path, made, name))
    assert volume.data.dtype == np.float32
    np.testing.assert_array_equal(volume.data, data.astype(np.float32))


def test_slope_and_intercept_are_applied(tmp_path):
    path = altered(tmp_path, scl_slope=0.5, scl_inter=-3)
    np.testing.assert_array_equal(read_volume(path).data, numbers() * 0.5 - 3)


@pytest.mark.parametrize("slope", [0, np.nan])
def test_no_slope_means_unscaled(tmp_path, slope):
    np.testing.assert_array_equal(read_volume(altered(tmp_path, scl_slope=slope)).data, numbers())


def test_gzip_is_told_by_content_not_by_name(tmp_path):
    path = saved(tmp_path, image(), "image.nii.gz").rename(tmp_path / "no_suffix")
    np.testing.assert_array_equal(read_volume(path).data, numbers())


def test_nifti2_and_trailing_axes_of_one(tmp_path):
    path = saved(tmp_path, image(numbers()[..., None, None], kind=nib.Nifti2Image))
    assert read_volume(path).data.shape == SHAPE


def test_an_extension_before_the_voxels_is_skipped(tmp_path):
    made = image()
    made.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"x" * 5000))
    np.testing.assert_array_equal(read_volume(saved(tmp_path, made)).data, numbers())


@pytest.mark.parametrize("number_type", [np.uint8, np.float64])
def test_reading_takes_little_more_memory_than_the_voxels_as_float32(tmp_path, monkeypatch, number_type):
    monkeypatch.setattr(nifti, "SLAB_VOXELS", 2**15)
    data = np.ones((160, 160, 60), number_type)
    data[0] = 0
    path = saved(tmp_path, image(data), "large.nii")
    tracemalloc.start()
    read_mask(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * 4 * data.size  # of which the mask is 0.25


def test_a_mask_may_be_empty_and_small(tmp_path):
    mask = read_mask(saved(tmp_path, image(np.zeros((3, 4, 5), np.uint8))))
    assert mask.data.dtype == bool
    assert not mask.data.any()


@pytest.mark.parametrize("value", [0.5, -1])
def test_a_mask_holds_whole_numbers(tmp_path, value):
    data = np.zeros((3, 4, 5), np.float32)
    data[1, 1, 1] = value
    with pytest.raises(InputError, match="threshold it first"):
        read_mask(saved(tmp_path, image(data)))
