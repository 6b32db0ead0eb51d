"""A small image, and files of it: as a tool saves them, and with headers that no honest tool writes."""

import nibabel as nib
import numpy as np

SHAPE = (16, 17, 18)


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
