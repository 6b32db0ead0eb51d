"""Phantoms as files, in the folders of the MSSEG-2 challenge."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from lesionwise import __version__
from lesionwise.challenge_layout import GROUND_TRUTH, TIME1, TIME2, patient_folder
from lesionwise.errors import InputError, UsageError
from lesionwise.files import check_outputs, json_writer, output_folder, write_whole
from lesionwise.nifti import write_nifti
from lesionwise.simulation.phantom import Phantom

DESCRIPTION = "phantom.json"
"""Which seed made a case, and what chance has drawn."""

_SCANNER = 1  # NIfTI's code for coordinates of the scanner


def case_folders(root: Path, cases: int, replace: bool = False) -> list[Path]:
    """Return the folders of so many cases under `root`, which need not exist.

    Raises:
        UsageError: a phantom is there already and `replace` is not set, or a folder holds files and no phantom.
        InputError: `root` or one of the folders is a file.
    """
    folders = [root / patient_folder(number) for number in range(1, cases + 1)]
    for folder in (root, *folders):
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder}: this is a file and not a folder; name another folder")
    there = [folder for folder in folders if folder.is_dir() and _holds_files(folder)]
    for folder in there:
        if not (folder / DESCRIPTION).is_file():
            raise UsageError(f"{folder}: this is no phantom (it has no {DESCRIPTION}); name another folder")
    if there and not replace:
        raise UsageError(
            f"{there[0]}: this case is there already; name another folder, or replace it with --force"
        )
    return folders


def _holds_files(folder: Path) -> bool:
    """Tell whether there are files other than hidden ones: those a process that is killed outright leaves."""
    return any(entry.name[0] != "." for entry in folder.iterdir())


@contextmanager
def checked_folder(folder: Path) -> Iterator[None]:
    """Make a case's folder and check that it can be written to, before the long work inside; unused, it goes again.

    Raises:
        InputError: the folder cannot be made or written.
    """
    with output_folder(folder):
        # Also removes what a process that was killed has left.
        check_outputs([folder / name for name in (DESCRIPTION, TIME1, TIME2, GROUND_TRUTH)], [])
        yield


def write_case(folder: Path, phantom: Phantom) -> None:
    """Write a phantom into its folder: all files or none, nor a new folder; the same phantom gives the same bytes.

    Raises:
        InputError: the folder cannot be made or written.
    """
    header = _header(phantom)
    images = {TIME1: phantom.time1, TIME2: phantom.time2, GROUND_TRUTH: phantom.new_lesions.astype(np.uint8)}
    # The description first: it is never missing beside the others, so that the next start knows them as a phantom.
    writers: dict[Path, Any] = {
        folder / DESCRIPTION: json_writer({"lesionwise": __version__} | phantom.drawn)
    }
    for name, image in images.items():
        writers[folder / name] = partial(write_nifti, array=image, like=header, compress=True)
    with checked_folder(folder):
        write_whole(writers)


def _header(phantom: Phantom) -> nib.Nifti1Header:
    header = nib.Nifti1Header()
    header.set_data_shape(phantom.time1.shape)
    header.set_zooms((1.0, 1.0, 1.0))
    header.set_xyzt_units("mm")
    header.set_sform(phantom.affine, code=_SCANNER)
    header.set_qform(phantom.affine, code=_SCANNER)
    return header
