"""Files that are hostile, damaged or no head scan are refused in one line, huge ones before memory is taken."""

import gzip
import os

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_volume import SHAPE, altered, image, numbers, saved

from lesionwise.errors import InputError
from lesionwise.header_geometry import check_plausible
from lesionwise.nifti import MAX_SIDE, MAX_VOXELS
from lesionwise.volume import read_image, read_mask, read_volume


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "field"),
    [
        ((512, 512, 256), (0.5, 0.5, 0.5), None),
        ((256, 256, 176), (1, 1, 1), None),
        ((512, 512, 30), (0.45, 0.45, 6), None),
        ((600, 16, 16), (1, 1, 1), None),
        ((102, 64, 64), (6, 3, 3), "612 x 192 x 192 mm"),
        ((1024, 16, 16), (6, 6, 6), "6144 x 96 x 96 mm"),
    ],
)
def test_a_field_of_view_that_no_head_scan_has_is_refused(tmp_path, shape, spacing_mm, field):
    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    header.set_zooms(spacing_mm)
    if field is None:
        check_plausible(tmp_path / "scan.nii", header)
    else:
        with pytest.raises(InputError, match=rf"scan\.nii: a field of view of {field} is no head scan's"):
            check_plausible(tmp_path / "scan.nii", header)


def test_voxels_of_a_millimetre_that_a_header_calls_micrometres_are_no_heads(tmp_path):
    with pytest.raises(InputError, match=r"voxels of 0\.001 x 0\.001 x 0\.0015 mm are no head scan's"):
        read_volume(altered(tmp_path, xyzt_units=3))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"srow_x": [0, 0, 0, 0]}, "zero or not finite"),
        ({"srow_x": [np.nan, 0, 0, 0]}, "zero or not finite"),
        ({"srow_x": [1, 0, 0, 0], "srow_y": [1, 1e-9, 0, 0]}, "zero or not finite"),
        ({"srow_x": [1, 1, 0, 0], "srow_y": [0, 0.1, 0, 0]}, "flat"),
        ({"srow_x": [2, 0, 0, 0]}, "disagree"),
        ({"sform_code": 0, "quatern_b": 5}, "not a rotation"),
        ({"scl_slope": np.inf}, "scaling"),
        ({"scl_slope": 1, "scl_inter": np.nan}, "scaling"),
        ({"scl_slope": 1e30}, "reach"),
        ({"pixdim": [1, 0.001, 0.001, 0.001, 0, 0, 0, 0]}, "no head scan"),
        ({"pixdim": [1, -1, 1, 1, 0, 0, 0, 0]}, "no head scan"),
        ({"pixdim": [1, np.nan, 1, 1, 0, 0, 0, 0]}, "no head scan"),
        ({"datatype": 128}, "grey values"),
        ({"datatype": 32}, "grey values"),
        ({"datatype": 9999}, "unknown number type"),
        ({"dim": [3, -5, 17, 18, 1, 1, 1, 1]}, "impossible sizes"),
        ({"dim": [3, 16, 17, 180, 1, 1, 1, 1]}, "cut off"),
        ({"dim": [3, 15, 17, 18, 1, 1, 1, 1]}, "no size of a head"),
        ({"dim": [3, 16, 1025, 18, 1, 1, 1, 1]}, "no size of a head"),
        ({"dim": [2, 16, 17, 1, 1, 1, 1, 1]}, "2 axes"),
        ({"dim": [4, 16, 17, 9, 2, 1, 1, 1]}, "4 axes"),
        ({"dim": [5, 16, 17, 9, 1, 2, 1, 1]}, "5 axes"),
        ({"vox_offset": np.nan}, "place for the voxels"),
        ({"vox_offset": -8}, "place for the voxels"),
        ({"vox_offset": 1e20}, "place for the voxels"),
        ({"magic": b"ni1"}, "two files"),
        ({"magic": b"xyz"}, "not a NIfTI"),
    ],
)
def test_hostile_headers_are_refused_with_the_file_name(tmp_path, fields, words):
    path = altered(tmp_path, **fields)
    with pytest.raises(InputError, match=words) as caught:
        read_volume(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_promise_of_a_million_million_voxels_is_refused_before_memory_is_taken(tmp_path):
    path = tmp_path / "huge.nii"
    header = nib.Nifti2Header()
    header.set_data_shape((10_000, 10_000, 10_000))
    header["magic"] = b"n+2\0\r\n\x1a\n"
    path.write_bytes(header.binaryblock + bytes(100))
    for read in (read_volume, read_mask):
        with pytest.raises(InputError, match="10000 x 10000 x 10000"):
            read(path)


def test_a_gzip_bomb_is_refused(tmp_path):
    path = saved(tmp_path, image(), "bomb.nii")
    path.write_bytes(gzip.compress(path.read_bytes() + bytes(70 * 2**20), compresslevel=1))
    with pytest.raises(InputError, match="far more than its header promises"):
        read_volume(path)


def test_a_promise_that_the_compressed_bytes_cannot_hold_is_refused_before_memory_is_taken(tmp_path):
    dim, pixdim = [3, 1000, 1000, MAX_VOXELS // 1_000_000, 1, 1, 1, 1], [1, 0.5, 0.5, 0.5, 0, 0, 0, 0]
    path = altered(tmp_path, dim=dim, pixdim=pixdim)
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(InputError, match="cut off"):
        read_volume(path)


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_an_axis_longer_than_any_scans_is_refused_before_memory_is_taken(tmp_path, axis):
    dim = [3, 2, 2, 2, 1, 1, 1, 1]
    dim[axis] = MAX_SIDE + 1
    with pytest.raises(InputError, match="more than any head scan"):
        read_image(altered(tmp_path, dim=dim))


@pytest.mark.parametrize("keep", [1, 11, 200, -1, -5, -300])
def test_a_truncated_gzip_is_refused_wherever_it_ends(tmp_path, keep):
    path = saved(tmp_path, image())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"damaged or cut off|not a NIfTI"):
        read_volume(path)


@given(position=st.integers(20, 5000), bit=st.integers(0, 7))
def test_a_flipped_bit_in_a_gzip_never_passes(tmp_path_factory, position, bit):
    folder = tmp_path_factory.mktemp("bit")
    path = saved(folder, image())
    content = bytearray(path.read_bytes())
    content[position % (len(content) - 20) + 20] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(InputError):
        read_volume(path)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (np.zeros(SHAPE, np.int16), "every voxel has the value 0"),
        (np.full(SHAPE, 7, np.int16), "every voxel has the value 7"),
        (np.where(numbers() == 5, np.nan, 1.0), "not finite"),
        (np.where(numbers() == 5, np.inf, 1.0), "not finite"),
        (np.where(numbers() == 5, 1e300, 1.0), "not finite"),
    ],
)
def test_images_without_content_are_refused(tmp_path, data, words):
    with pytest.raises(InputError, match=words):
        read_volume(saved(tmp_path, image(data)))


def test_what_is_no_file_is_refused(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "empty.nii.gz").touch()
    (tmp_path / "text.nii.gz").write_text("these are no voxels, " * 50)
    for name, words in {
        "missing.nii.gz": "no such file",
        ".": "folder",
        "pipe": "not a regular file",
        "empty.nii.gz": "empty",
        "text.nii.gz": "not a NIfTI file",
    }.items():
        with pytest.raises(InputError, match=words):
            read_volume(tmp_path / name)
