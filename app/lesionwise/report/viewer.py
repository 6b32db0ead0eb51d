"""What the interactive viewer needs: NiiVue's program, from the installed package ipyniivue, and the volumes.

Of ipyniivue (BSD-2-Clause, as NiiVue itself) one file is read: a JavaScript module that holds NiiVue and a widget around it.
It exports the widget alone; its last line is rewritten here so that it exports NiiVue. Nothing of it is imported by Python.
"""

import base64
import gzip
import re
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from lesionwise.report.case_images import CaseImages, coarser

MAX_VOXELS = 5_000_000
"""A brain at 1 mm has 4 to 5 million voxels with its margin; finer scans are shown coarser, to keep reports small."""

_CLASS = re.compile(r'"Creating new Niivue instance"\).{0,200}?=new (?P<name>[\w$]+)\(', re.DOTALL)
_EXPORT = re.compile(r"export\s*\{[^{}]*\}\s*;?\s*$")


@dataclass(frozen=True)
class ViewerProgram:
    """NiiVue as a JavaScript module that exports `Niivue`, gzip in base64; and the text of its licence."""

    module_gzip: str
    licence: str


@dataclass(frozen=True)
class ViewerVolumes:
    """NIfTI files, gzip in base64; `mask` and `probability` are on the grid of the scans."""

    time1: str
    time2: str
    mask: str
    probability: str


@cache
def viewer_program() -> ViewerProgram | None:
    """Return NiiVue, or None where it is not installed or not as expected."""
    spec = find_spec("ipyniivue")
    if spec is None or spec.origin is None:
        return None
    package = Path(spec.origin).parent
    licences = sorted(package.parent.glob("ipyniivue-*.dist-info/licenses/LICENSE*"))
    try:
        module = niivue_module((package / "static" / "widget.js").read_text(encoding="utf-8"))
        licence = licences[0].read_text(encoding="utf-8") if licences else ""
    except (OSError, ValueError):
        return None
    return ViewerProgram(_packed(module.encode()), licence) if module and licence else None


def niivue_module(widget: str) -> str | None:
    """Return the widget's module with NiiVue's class exported instead of the widget, or None if it is not in it."""
    name, export = _CLASS.search(widget), _EXPORT.search(widget)
    if name is None or export is None:
        return None
    return f"{widget[: export.start()]}export {{ {name['name']} as Niivue }};\n"


def viewer_volumes(images: CaseImages) -> ViewerVolumes:
    """Return the volumes that the viewer shows, coarser than the scans where these are very fine."""
    images = coarser(images, MAX_VOXELS)
    mask = (images.labels > 0).astype(np.uint8)
    arrays = (images.time1, images.time2, mask, images.probability)
    return ViewerVolumes(*(_packed(_nifti(array, images.affine)) for array in arrays))


def _nifti(array: NDArray[Any], affine: NDArray[np.float64]) -> bytes:
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    return bytes(image.to_bytes())


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, 6, mtime=0)).decode()
