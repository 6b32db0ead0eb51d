"""Where voxels lie: which affine of a header counts, in which unit, and the same grid stored in another order."""

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff
from scipy.spatial.transform import Rotation
from small_volume import SHAPE, altered, image, numbers, saved

from lesionwise.errors import InputError
from lesionwise.volume import (
    Volume,
    check_same_grid,
    in_order_of,
    on_grid,
    read_volume,
    to_orientation,
    write_image_like,
)


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
