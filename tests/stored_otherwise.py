"""The same scans stored in other ways: number types, compression, headers, orientations; and masks compared over them."""

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform


def as_float64(image):
    return nib.Nifti1Image(image.get_fdata(dtype=np.float64), image.affine, dtype=np.float64)


def as_scaled_int16(image):
    data = image.get_fdata(dtype=np.float64)
    scaled = nib.Nifti1Image(data, image.affine, dtype=np.int16)
    scaled.header.set_data_dtype(np.int16)
    return scaled  # nibabel chooses slope and intercept to use all of int16


def turned(codes):
    def turn(image):
        back = ornt_transform(io_orientation(image.affine), axcodes2ornt(codes))
        data = apply_orientation(np.asarray(image.dataobj), back)
        return nib.Nifti1Image(data, image.affine @ inv_ornt_aff(back, image.shape), dtype=data.dtype)

    return turn


def qform_only(image):
    made = nib.Nifti1Image(np.asarray(image.dataobj), image.affine)
    made.set_qform(image.affine, code=1)
    made.set_sform(None, code=0)
    return made


def in_unit(unit, per_mm):
    def change(image):
        made = nib.Nifti1Image(np.asarray(image.dataobj), np.diag([per_mm, per_mm, per_mm, 1]) @ image.affine)
        made.header.set_xyzt_units(unit)
        return made

    return change


WAYS = {
    "float64": (as_float64, ".nii.gz"),
    "int16 with slope": (as_scaled_int16, ".nii.gz"),
    "nii": (lambda image: image, ".nii"),
    "qform only": (qform_only, ".nii.gz"),
    "RAS": (turned("RAS"), ".nii.gz"),
    "LPS": (turned("LPS"), ".nii.gz"),
    "flipped": (turned("RPI"), ".nii.gz"),
    "permuted": (turned("SAL"), ".nii.gz"),
    "permuted nii": (turned("ASR"), ".nii"),
    "metres": (in_unit("meter", 1e-3), ".nii.gz"),
    "micrometres": (in_unit("micron", 1e3), ".nii.gz"),
}


def store(paths, way, folder):
    """Write the scans the named way into a folder and return their paths."""
    change, suffix = WAYS[way]
    stored = [folder / (path.name.split(".")[0] + suffix) for path in paths]
    for path, target in zip(paths, stored, strict=True):
        nib.save(change(nib.load(path)), target)
    return stored


def dice(first, second):
    return 2 * (first & second).sum() / (first.sum() + second.sum())


def dice_mapped_back(mask, reference):
    """Return the Dice of two mask files whose voxels are the same up to the order and direction of axes."""
    there, here = nib.load(mask), nib.load(reference)
    back = ornt_transform(io_orientation(there.affine), io_orientation(here.affine))
    turned_back = apply_orientation(np.asarray(there.dataobj), back) > 0
    return dice(turned_back, np.asarray(here.dataobj) > 0)
