"""Records of arrays kept in files: prepared scans and patients."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from lesionwise.files import check_outputs, write_whole


def made_from(folder: Path, files: Iterable[str], *how: object) -> str:
    """Return as a short text what a record is made from: the size and the date of files in a folder, and how."""
    states = [(file, (folder / file).stat()) for file in files]
    facts = [*how, *((file, state.st_size, state.st_mtime_ns) for file, state in states)]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:12]


def store(file: Path, record: Any) -> None:
    """Write the arrays of a dataclass, bool or float, to a `.npz`: whole or not at all. Floats are kept in float16."""
    arrays = {n: a if a.dtype == bool else a.astype(np.float16) for n, a in vars(record).items()}
    check_outputs([file], [])  # what a killed run left half written goes
    write_whole({file: lambda part: np.savez_compressed(part, **arrays)})


def stored(file: Path) -> dict[str, np.ndarray]:
    """Return what `store` wrote, by name: bool or float32."""
    with np.load(file) as arrays:
        return {n: arrays[n] if arrays[n].dtype == bool else arrays[n].astype(np.float32) for n in arrays}
