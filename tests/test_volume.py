"""Volumes keep their geometry from the door to the last room, whatever a header looks like."""

import gzip
import os
import tracemalloc
from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given
from hypothesis import strategies as st
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff
from scipy.spatial.transform import Rotation

from lesionwise import nifti
from lesionwise.errors import InputError, UsageError
from lesionwise.files import write_whole
from lesionwise.header_geometry import check_plausible
from lesionwise.nifti import MAX_SIDE, MAX_VOXELS
from lesionwise.volume import (
    Volume,
    check_same_grid,
    in_order_of,
    mask_writer,
    on_grid,
    read_image,
    read_mask,
    read_volume,
    to_orientation,
    write_image_like,
)

SHAPE = (16, 17, 18)
GEOMETRY_FIELDS = (
    *("dim", "pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)


def numbers(shape=SHAPE):
    return np.random.default_rng(0).integers(0, 1000, shape).astype(np.int16)


def image(data=None, affine=None, sform=1, qform=1, kind=nib.Nifti1Image):
    data = numbers() if data is None else data
    affine = (
        np.array([[-1, 0, 0, 8], [0, 1, 0, -9], [0, 0, 1.5, 3], [0, 0, 0, 1]]) if affine is None else affine
    )
    made = kind(data, affine, dtype=data.dtype)
    made.set_sform(affine if sform else None, code=sform)
    made.set_qform(affine if qform else None, code=qform)
    made.header["pixdim"][1:4] = nib.affines.voxel_sizes(affine)
    return made


def saved(tmp_path, made, name="image.nii.gz"):
    path = tmp_path / name
    nib.save(made, path)
    return path


def altered(tmp_path, name="altered.nii", **fields):
    """Save an uncompressed image, then overwrite header fields as no honest tool would."""
    path = saved(tmp_path, image(), name)
    content = path.read_bytes()
    header = nib.Nifti1Header(content[:348], check=False)
    for field, value in fields.items():
        header[field] = value
    path.write_bytes(header.binaryblock + content[348:])
    return path


# --- reading ---------------------------------------------------------------------------------------------


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


# --- which affine ----------------------------------------------------------------------------------------


def test_sform_counts_before_qform_and_qform_where_there_is_no_sform(tmp_path):
    np.testing.assert_allclose(read_volume(altered(tmp_path, qoffset_x=99)).affine[0, 3], 8)
    np.testing.assert_allclose(read_volume(altered(tmp_path, qoffset_x=99, sform_code=0)).affine[0, 3], 99)


def test_neither_form_means_voxel_sizes_along_right_anterior_superior(tmp_path):
    volume = read_volume(altered(tmp_path, sform_code=0, qform_code=0))
    np.testing.assert_array_equal(volume.affine, np.diag([1, 1, 1.5, 1]))
    assert not volume.states_orientation


def test_qfac_zero_means_one(tmp_path):
    pixdim = [0, 1, 1, 1.5, 0, 0, 0, 0]
    quaternion = {"quatern_b": 0, "quatern_c": 0, "quatern_d": 0}
    volume = read_volume(altered(tmp_path, sform_code=0, qform_code=1, pixdim=pixdim, **quaternion))
    np.testing.assert_allclose(volume.affine[:3, :3], np.diag([1, 1, 1.5]))


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize(("sform", "qform"), [(1, 0), (0, 1), (0, 0)])
@pytest.mark.parametrize(("unit", "per_mm"), [("meter", 1e-3), ("micron", 1e3), ("unknown", 1)])
def test_a_header_in_another_unit_counts_in_mm_as_itk_reads_it(tmp_path, kind, sform, qform, unit, per_mm):
    affine = np.array([[-0.9375, 0, 0, 81.5], [0, 1, 0, -93.3], [0, 0, 1.2, 3], [0, 0, 0, 1]])
    in_mm = read_volume(saved(tmp_path, image(None, affine, sform, qform, kind), "mm.nii"))
    stored = image(None, np.diag([per_mm, per_mm, per_mm, 1]) @ affine, sform, qform, kind)
    stored.header.set_xyzt_units(unit, "sec")
    path = saved(tmp_path, stored, "other.nii")
    volume = read_volume(path)
    np.testing.assert_allclose(volume.spacing_mm, in_mm.spacing_mm, rtol=2e-7)
    np.testing.assert_allclose(volume.affine, in_mm.affine, atol=1e-5)
    assert volume.spacing_mm[1] == 1  # exactly: the smallest lesion is counted in voxels

    if kind is nib.Nifti1Image:  # ITK reads no other
        itk = sitk.ReadImage(str(path))
        np.testing.assert_allclose(volume.spacing_mm, itk.GetSpacing(), rtol=2e-7)
        if sform or qform:  # else ITK does not flip axes
            np.testing.assert_allclose(volume.affine[:3, 3] * [-1, -1, 1], itk.GetOrigin(), atol=1e-5)

    turned = to_orientation(volume, "PIR")
    np.testing.assert_allclose(turned.spacing_mm, np.array(volume.spacing_mm)[[1, 2, 0]])
    write_image_like(tmp_path / "turned.nii", turned.data, turned)
    np.testing.assert_allclose(read_volume(tmp_path / "turned.nii").affine, turned.affine, atol=1e-5)


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


# --- masks -----------------------------------------------------------------------------------------------


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


# --- grids -----------------------------------------------------------------------------------------------


def test_same_grid_is_told_within_a_ten_thousandth(tmp_path):
    first = read_volume(saved(tmp_path, image(), "first.nii"))
    near, far = image().affine, image().affine
    near[0, 3] += 5e-5
    far[0, 3] += 5e-4
    check_same_grid(first, read_volume(saved(tmp_path, image(affine=near), "near.nii")))
    with pytest.raises(InputError, match=r"first\.nii and .*far\.nii: the geometry differs"):
        check_same_grid(first, read_volume(saved(tmp_path, image(affine=far), "far.nii")))
    with pytest.raises(InputError, match=r"first\.nii and .*other\.nii: the sizes differ"):
        check_same_grid(first, read_volume(saved(tmp_path, image(numbers((16, 16, 18))), "other.nii")))


@pytest.mark.parametrize("codes", ["RAS", "LPS", "ASR", "PIL", "SRA", "LIP"])
def test_canonical_order_is_the_same_however_the_image_is_stored(tmp_path, codes):
    ras = image(affine=np.array([[0.9, 0, 0, -8], [0, 1.1, 0, -9], [0, 0, 1.5, 3], [0, 0, 0, 1]]))
    orientation = axcodes2ornt(codes)
    back = nib.orientations.ornt_transform(axcodes2ornt("RAS"), orientation)
    stored = image(apply_orientation(numbers(), back), ras.affine @ inv_ornt_aff(back, SHAPE))
    volume = read_volume(saved(tmp_path, stored))
    assert volume.axis_codes == codes
    canonical = to_orientation(volume, "RAS")
    np.testing.assert_array_equal(canonical.data, numbers())
    np.testing.assert_allclose(canonical.affine, ras.affine, atol=1e-5)
    np.testing.assert_allclose(canonical.spacing_mm, (0.9, 1.1, 1.5), rtol=1e-6)


@pytest.mark.parametrize(
    "turn_degrees", [(45, 0, 0), (0, 135, 0), (0, 0, 45), (0, 0, -135), (60 / 3**0.5,) * 3], ids=str
)
def test_a_tie_of_axes_is_broken_alike_in_all_48_ways_to_store_a_volume(turn_degrees):
    turn = Rotation.from_rotvec(turn_degrees, degrees=True).as_matrix()
    affine = nib.affines.from_matvec(turn * [1, 1.1, 1.3], [3, 4, 5])
    data = numbers((3, 4, 5))
    like = Volume(data, affine, nib.Nifti1Header())
    expected = to_orientation(like, "LPS")
    for order, flips in product(permutations(range(3)), product((1, -1), repeat=3)):
        stored = np.stack([order, flips], axis=1)
        as_stored = on_grid(apply_orientation(data, stored), affine @ inv_ornt_aff(stored, data.shape), like)
        turned = to_orientation(as_stored, "LPS")
        np.testing.assert_array_equal(turned.data, expected.data)
        np.testing.assert_allclose(turned.affine, expected.affine, atol=1e-12)
        assert turned.axis_codes == "LPS"
        np.testing.assert_array_equal(in_order_of(turned.data, turned, as_stored), as_stored.data)


# --- writing ---------------------------------------------------------------------------------------------


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


# --- real scans ------------------------------------------------------------------------------------------


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
