"""Hostile headers by the ten thousand: `make fuzz` (FUZZ_INPUTS=20000 by default).

Each input is a small sound NIfTI file in which fields and bytes were overwritten. It is read as a scan, as an image
and as a mask, turned, and written again. Whatever happens, it is no error but those for people, takes no ten
seconds and no 2 GB. What fails is kept by hypothesis in `.hypothesis/`, and tried first at the next run.
"""

import gzip
import os
import resource
import signal
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lesionwise.errors import LesionwiseError
from lesionwise.files import write_whole
from lesionwise.volume import (
    check_same_grid,
    image_writer,
    mask_writer,
    read_image,
    read_mask,
    read_volume,
    to_orientation,
)

SHAPE = (16, 18, 17)
LONGEST_SECONDS = 10
LARGEST_BYTES = 2 * 2**30

NUMBERS = st.one_of(
    st.sampled_from([0, 1, -1, 2, 3, 255, 256, 32767, -32768, 1e30, -1e30, 1e-30, np.nan, np.inf, -np.inf]),
    st.integers(-(2**15), 2**15 - 1),
    st.floats(width=32),
)
# (offset, bytes, number type): the fields of NIfTI-1 that decide anything.
FIELDS = {
    "sizeof_hdr": (0, "i4"),
    **{f"dim{n}": (40 + 2 * n, "i2") for n in range(8)},
    "datatype": (70, "i2"),
    "bitpix": (72, "i2"),
    **{f"pixdim{n}": (76 + 4 * n, "f4") for n in range(8)},
    "vox_offset": (108, "f4"),
    "scl_slope": (112, "f4"),
    "scl_inter": (116, "f4"),
    "xyzt_units": (123, "i1"),
    "qform_code": (252, "i2"),
    "sform_code": (254, "i2"),
    **{f"quatern{n}": (256 + 4 * n, "f4") for n in range(6)},
    **{f"srow{n}": (280 + 4 * n, "f4") for n in range(12)},
    "magic": (344, "u4"),
}
CHANGES = st.lists(st.tuples(st.sampled_from(sorted(FIELDS)), NUMBERS), max_size=4)
BYTES = st.lists(st.tuples(st.integers(0, 360), st.integers(0, 255)), max_size=3)
FILES = st.tuples(CHANGES, BYTES, st.booleans(), st.booleans(), st.integers(0, 1))


def sound_file() -> bytes:
    """Return a NIfTI-1 file of whole numbers; most voxels are 0, so that it may be a scan and a mask."""
    data = (np.arange(np.prod(SHAPE)).reshape(SHAPE) % 7 == 0).astype(np.int16)
    image = nib.Nifti1Image(data, np.diag([-1.0, 1.0, 1.2, 1.0]))
    image.set_sform(image.affine, code=1)
    image.set_qform(image.affine, code=1)
    return bytes(image.to_bytes())


SOUND = sound_file()


def spoilt(changes: list[tuple[str, float]], single_bytes: list[tuple[int, int]], compress: bool) -> bytes:
    """Return the sound file with fields and bytes overwritten."""
    content = bytearray(SOUND)
    for name, number in changes:
        place, kind = FIELDS[name]
        with np.errstate(all="ignore"):
            value = np.float64(number)
            if kind[0] in "iu":
                value = np.nan_to_num(value, posinf=0, neginf=0).astype(np.int64)
            field = value.astype(kind).tobytes()
        content[place : place + len(field)] = field
    for place, byte in single_bytes:
        content[place] = byte
    return gzip.compress(bytes(content), 1, mtime=0) if compress else bytes(content)


def use(path: Path, folder: Path, mask_like: int) -> None:
    """Read, turn and write the file in every way that the program does."""
    for read in (read_volume, read_image, read_mask):
        try:
            volume = read(path)
            turned = to_orientation(volume, "LPS")
            check_same_grid(volume, volume)
            output = folder / "output.nii"
            writer = mask_writer(output, volume.data > 0, volume) if mask_like else None
            write_whole({output: writer or image_writer(output, volume.data, volume)})
            again = read_image(output)
            assert again.data.shape == volume.data.shape == tuple(np.array(turned.data.shape)[_axes(volume)])
            check_same_grid(volume, again)
        except LesionwiseError as error:
            if "\n" in str(error) or error.exit_code not in (2, 3, 4):
                raise AssertionError(f"no error for people: {error!r}") from error


def _axes(volume) -> list[int]:
    return [int(axis) for axis in nib.orientations.io_orientation(volume.affine)[:, 0]]


def fuzz(inputs: int) -> None:
    """Try so many inputs, within the limits of time and memory."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        @settings(max_examples=inputs, deadline=None, suppress_health_check=list(HealthCheck))
        @given(FILES)
        def attempt(drawn):
            changes, single_bytes, compress, cut, mask_like = drawn
            content = spoilt(changes, single_bytes, compress)
            path = folder / "input.nii"
            path.write_bytes(content[: len(content) * 2 // 3] if cut else content)
            signal.alarm(LONGEST_SECONDS)  # ends the process: a hang is found whatever it hangs in
            try:
                use(path, folder, mask_like)
            finally:
                signal.alarm(0)

        attempt()


def main() -> None:
    inputs = int(os.environ.get("FUZZ_INPUTS", "20000"))
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + LARGEST_BYTES, resource.RLIM_INFINITY))
    settings.register_profile("fuzz", derandomize=False, print_blob=True)
    settings.load_profile("fuzz")
    fuzz(inputs)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{inputs} inputs: no error but those for people, none took {LONGEST_SECONDS} s; peak {peak_mb:.0f} MB"
    )


if __name__ == "__main__":
    main()
