"""What is written has the geometry of its source to the bit and nothing else of it, and is whole or not there."""

import gzip
import os

import nibabel as nib
import numpy as np
import pytest
from small_volume import image, numbers, saved

from lesionwise.errors import InputError, UsageError
from lesionwise.files import write_whole
from lesionwise.volume import mask_writer, read_mask, read_volume, write_image_like

GEOMETRY_FIELDS = (
    *("dim", "pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)


def write_mask(path, mask, like):
    write_whole({path: mask_writer(path, mask, like)})


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize(("sform", "qform"), [(1, 1), (0, 2), (4, 0), (0, 0)])
@pytest.mark.parametrize(("units", "per_mm"), [(8 + 2, 1), (8 + 1, 1e-3), (8 + 3, 1e3)])
def test_the_geometry_of_the_header_is_kept_bit_for_bit(tmp_path, kind, sform, qform, units, per_mm):
    affine = np.diag([per_mm, per_mm, per_mm, 1]) @ image().affine
    made = image(numbers()[..., None], affine, sform=sform, qform=qform, kind=kind)
    made.header["pixdim"][1:4] = np.array([1.0000001, 1, 1.5]) * per_mm
    made.header["xyzt_units"] = units
    made.header["descrip"] = b"DOE^JANE 1970"
    made.header["intent_name"] = b"DOE^JANE"
    if "unused_str" in made.header:  # NIfTI-2
        made.header["unused_str"] = b"DOE^JANE"
    source = read_volume(saved(tmp_path, made))
    mask = numbers() > 500
    write_mask(tmp_path / "mask.nii.gz", mask, source)
    written = nib.load(tmp_path / "mask.nii.gz")
    for field in GEOMETRY_FIELDS:
        assert written.header[field].tobytes() == source.header[field].tobytes(), field
    assert written.get_data_dtype() == np.uint8
    assert written.header.get_slope_inter() in ((None, None), (1, 0))
    np.testing.assert_array_equal(np.asarray(written.dataobj)[..., 0], mask)
    assert b"DOE" not in gzip.decompress((tmp_path / "mask.nii.gz").read_bytes())
    assert read_mask(tmp_path / "mask.nii.gz").header["pixdim"].tobytes() == source.header["pixdim"].tobytes()


def test_a_big_endian_source_keeps_its_geometry(tmp_path):
    made = image()
    made = nib.Nifti1Image(numbers(), made.affine, header=made.header.as_byteswapped(">"))
    source = read_volume(saved(tmp_path, made))
    write_image_like(tmp_path / "copy.nii", source.data, source)
    copy = read_volume(tmp_path / "copy.nii")
    np.testing.assert_array_equal(copy.affine, source.affine)
    np.testing.assert_array_equal(copy.data, source.data)
    assert copy.header.get_data_dtype() == np.float32


def test_the_same_mask_gives_the_same_bytes(tmp_path):
    source = read_volume(saved(tmp_path, image()))
    for name in ("one.nii.gz", "two.nii.gz"):
        write_mask(tmp_path / name, numbers() > 500, source)
    assert (tmp_path / "one.nii.gz").read_bytes() == (tmp_path / "two.nii.gz").read_bytes()


def test_permissions_follow_the_umask(tmp_path):
    source = read_volume(saved(tmp_path, image()))
    before = os.umask(0o027)
    try:
        write_mask(tmp_path / "mask.nii.gz", numbers() > 500, source)
    finally:
        os.umask(before)
    assert (tmp_path / "mask.nii.gz").stat().st_mode & 0o777 == 0o640


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    source = read_volume(saved(tmp_path, image()))
    (tmp_path / "mask.nii.gz").write_text("old")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left on device"):
        write_mask(tmp_path / "mask.nii.gz", numbers() > 500, source)
    assert (tmp_path / "mask.nii.gz").read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["image.nii.gz", "mask.nii.gz"]


def test_an_output_is_named_nii_or_nii_gz(tmp_path):
    source = read_volume(saved(tmp_path, image()))
    with pytest.raises(UsageError, match=r"\.nii"):
        write_mask(tmp_path / "mask.png", numbers() > 500, source)


@pytest.mark.shared
def test_a_real_scan_keeps_its_header_and_voxels(shared, tmp_path):
    path = shared / "data/ljubljana/pairs/patient01/flair_time01_on_middle_space.nii.gz"
    volume, reference = read_volume(path), nib.load(path)
    np.testing.assert_array_equal(volume.data, reference.get_fdata(dtype=np.float32))
    np.testing.assert_array_equal(volume.affine, reference.affine)
    write_mask(tmp_path / "mask.nii.gz", volume.data > 500, volume)
    written = nib.load(tmp_path / "mask.nii.gz").header
    for field in GEOMETRY_FIELDS:
        assert written[field].tobytes() == reference.header[field].tobytes(), field
