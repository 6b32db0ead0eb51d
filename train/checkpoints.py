"""Files of trainings: written whole, and read with an error for people where they are torn or something else."""

import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import torch
from safetensors import SafetensorError

from lesionwise.errors import InputError
from lesionwise.files import check_outputs, write_whole

Taken = TypeVar("Taken")

_WRONG = (
    EOFError,
    pickle.UnpicklingError,
    BadZipFile,
    SafetensorError,
    RuntimeError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
)
"""What readers raise for a torn file, and code that looks for what a file of another kind does not hold."""


@contextmanager
def reading(file: Path, what: str, advice: str) -> Iterator[None]:
    """Read a file that should hold `what`, and look up its content, inside.

    Raises:
        InputError: the file is missing, torn, or holds something else; `advice` tells what to do.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{file}: there is no {what}; {advice}") from error
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error}); {advice}") from error
    except torch.OutOfMemoryError:
        raise
    except _WRONG as error:
        raise InputError(f"{file}: this holds no {what} of this version, or is torn; {advice}") from error


def load_checkpoint(file: Path, take: Callable[[dict[str, Any]], Taken], what: str, advice: str) -> Taken:
    """Return what `take` makes of the state in a file that `save_checkpoint` wrote, on the CPU. Raises as `reading`."""
    with reading(file, what, advice):
        return take(torch.load(file, weights_only=True, map_location="cpu"))


def save_checkpoint(file: Path, state: Mapping[str, Any]) -> None:
    """Write a state of tensors and plain values; the old file is replaced in one step.

    Raises:
        InputError: it cannot be written.
    """
    check_outputs([file], [])  # what a killed run left half written goes
    write_whole({file: lambda part: torch.save(state, part)})
