"""NIfTI bytes in and out, with no trust in what a file says of itself.

Sizes are checked against the header before anything is allocated, and no more is decompressed than the
header promises. Both NIfTI-1 and NIfTI-2, plain or gzip (told by content, not by name), either byte order.
"""

import gzip
import io
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from numpy.typing import NDArray

from lesionwise.errors import InputError

MAX_VOXELS = 256_000_000
"""More than any head scan (512 x 512 x 512 is 134 million); a header that promises more is refused. As float32, 1 GB."""

MAX_SIDE = 4096
"""More voxels than any scan has along an axis."""

SLAB_VOXELS = 2**22
"""So many are read, scaled and written at once, or one slice: more memory than for the result itself is not taken."""

MAX_EXTENSION_BYTES = 64 * 2**20
"""What may lie between the header and the voxels, and after them."""

DEFLATE_RATIO = 1032
"""No deflate stream expands by more (zlib, "Maximum Compression Factor")."""

GEOMETRY_FREE_TEXT = ("descrip", "db_name", "aux_file", "intent_name", "data_type", "unused_str")
"""Header fields that hold free text, possibly a patient's name; blanked in what is written."""

_NUMBER_KINDS = "iuf"


def read_nifti(path: Path, check_header: Callable[[Any], None]) -> tuple[Any, NDArray[np.float32]]:
    """Return the header as it stands in the file, and the numbers, scaled by its slope and intercept, in C order.

    `check_header` is called with the header before the voxels are read, to refuse it by raising.
    The array has the shape of `spatial_shape(header)`.
    Raises `InputError` for all that is no sound NIfTI file.
    """
    try:
        size = _regular_file_size(path)
        with path.open("rb") as raw:
            compressed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            stream = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if compressed else raw
            header = _read_header(path, stream)
            check_header(header)
            _check_promise(path, header, size * DEFLATE_RATIO if compressed else size)
            return header, _read_voxels(path, header, stream)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            f"{path}: the compressed file is damaged or cut off; copy or export it again"
        ) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def spatial_shape(header: Any) -> tuple[int, ...]:
    """Return the sizes of the axes (x, y, z and perhaps more), trailing axes of length 1 left out."""
    count = int(header["dim"][0])
    sizes = [int(n) for n in header["dim"][1 : count + 1]]
    while sizes and sizes[-1] == 1:
        sizes.pop()
    return tuple(sizes)


def write_nifti(file: BinaryIO, array: NDArray[Any], like: Any, compress: bool) -> None:
    """Write an array with the geometry of another header, bit for bit, and none of its free text.

    Kept are shape, sform, qform, their codes, pixdim and units; the number type is the array's, unscaled.
    The same input gives the same bytes: no time and no name stand in the gzip header.
    """
    header = like.copy() if like.endianness == "<" else like.as_byteswapped("<")
    for field in GEOMETRY_FREE_TEXT:
        if field in header:  # NIfTI-2 has dropped some
            header[field] = b""
    for field in ("intent_code", "intent_p1", "intent_p2", "intent_p3", "cal_min", "cal_max", "scl_inter"):
        header[field] = 0
    header["scl_slope"] = 1
    header.set_data_dtype(array.dtype)
    header["vox_offset"] = int(header["sizeof_hdr"]) + 4
    with (
        gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0)
        if compress
        else nullcontext(file)
    ) as stream:
        stream.write(header.binaryblock + bytes(4))
        for slab in slabs(array.shape):
            stream.write(array[slab].astype(array.dtype.newbyteorder("<")).tobytes(order="F"))


def slabs(shape: tuple[int, ...]) -> Iterator[tuple[Any, ...]]:
    """Yield the indices of slabs along the last axis, one after the other as the voxels lie in a file."""
    thickness = max(1, SLAB_VOXELS // int(np.prod(shape[:-1])))
    for first in range(0, shape[-1], thickness):
        yield ..., slice(first, first + thickness)


def _regular_file_size(path: Path) -> int:
    if not path.exists() and path.is_symlink():
        raise InputError(
            f"{path}: no such file where this link leads; fetch it (git-annex, DataLad) or mend the link"
        )
    if not path.exists():
        raise InputError(f"{path}: no such file; check the path")
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise InputError(f"{path}: this is a folder; give a NIfTI file (.nii or .nii.gz)")
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path}: not a regular file; give a NIfTI file (.nii or .nii.gz)")
    if status.st_size == 0:
        raise InputError(f"{path}: the file is empty; copy or export it again")
    return status.st_size


def _read_header(path: Path, stream: BinaryIO) -> Any:
    """Parse the header without nibabel's repairs: what is written later must be what was read."""
    start = _read(stream, 4)
    sizes = {int.from_bytes(start, "little"), int.from_bytes(start, "big")}
    if 348 in sizes:
        block = start + _read(stream, 344)
        single_file, pair, kind = block[344:347] == b"n+1", block[344:347] == b"ni1", Nifti1Header
    elif 540 in sizes:
        block = start + _read(stream, 536)
        single_file, pair, kind = block[4:7] == b"n+2", block[4:7] == b"ni2", Nifti2Header
    else:
        raise InputError(
            f"{path}: not a NIfTI file; convert it to .nii.gz (from DICOM, for example, with dcm2niix)"
        )
    if pair:
        raise InputError(
            f"{path}: header and voxels are in two files (.hdr, .img); convert them to one .nii.gz"
        )
    if not single_file or len(block) not in (348, 540):
        raise InputError(f"{path}: not a NIfTI file, or its header is cut off; export it again")
    header = kind.from_fileobj(io.BytesIO(block), check=False)
    dimensions = header["dim"]
    count = int(dimensions[0])
    if not 1 <= count <= 7 or np.any(dimensions[1 : count + 1] < 1):
        raise InputError(f"{path}: the header states impossible sizes; export the image again")
    return header


def _check_promise(path: Path, header: Any, available_bytes: int) -> None:
    """Refuse what the header promises if it is too much, of no use, or more than the file can hold."""
    shape = spatial_shape(header)
    voxels = int(np.prod([float(n) for n in shape]))
    if voxels > MAX_VOXELS or max(shape, default=1) > MAX_SIDE:
        sizes = " x ".join(map(str, shape))
        raise InputError(
            f"{path}: the header promises {sizes} voxels, more than any head scan has; export it again"
        )
    try:
        number_type = header.get_data_dtype()
    except Exception as error:  # nibabel raises several types here
        raise InputError(
            f"{path}: the header states an unknown number type; export the image again"
        ) from error
    if number_type.kind not in _NUMBER_KINDS or number_type.itemsize > 8:
        raise InputError(
            f"{path}: voxels of type {number_type} are no grey values; convert to integers or floats"
        )
    offset = float(header["vox_offset"])
    header_bytes = int(header["sizeof_hdr"])
    if not header_bytes <= offset <= header_bytes + MAX_EXTENSION_BYTES:
        raise InputError(
            f"{path}: the header states an impossible place for the voxels; export the image again"
        )
    if offset + voxels * number_type.itemsize > available_bytes:
        raise InputError(
            f"{path}: the file is cut off, it holds less than its header promises; copy it again"
        )


def _read_voxels(path: Path, header: Any, stream: BinaryIO) -> NDArray[np.float32]:
    """Read exactly the promised voxels, then to the end of the file, so that gzip's checksum is verified."""
    slope, intercept = _scaling(path, header)
    _read(stream, int(header["vox_offset"]) - int(header["sizeof_hdr"]))
    number_type = header.get_data_dtype()
    voxels = np.empty(spatial_shape(header), dtype=np.float32)
    for slab in slabs(voxels.shape):
        part = voxels[slab]
        content = _read(stream, part.size * number_type.itemsize)
        if len(content) < part.size * number_type.itemsize:
            raise InputError(
                f"{path}: the file is cut off, it holds less than its header promises; copy it again"
            )
        stored = np.frombuffer(content, number_type).reshape(part.shape, order="F")
        with np.errstate(over="ignore", invalid="ignore"):
            part[...] = stored.astype(np.float64) * slope + intercept
    trailing = 0
    while chunk := stream.read(2**16):
        trailing += len(chunk)
        if trailing > MAX_EXTENSION_BYTES:
            raise InputError(
                f"{path}: the file holds far more than its header promises; export the image again"
            )
    return voxels


def _scaling(path: Path, header: Any) -> tuple[float, float]:
    """Return slope and intercept, for double precision."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or np.isnan(slope):  # the standard's and nibabel's way to say "not scaled"
        return 1.0, 0.0
    if not np.isfinite([slope, intercept]).all():
        raise InputError(f"{path}: the header's scaling is not a finite number; export the image again")
    return slope, intercept


def _read(stream: BinaryIO, count: int) -> bytes:
    """Read up to `count` bytes, fewer only at the end of the file."""
    parts = []
    while count > 0 and (part := stream.read(count)):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
