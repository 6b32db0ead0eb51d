"""One batch at a time in a folder of results: two would compute every case twice, and mix their outputs."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from lesionwise.errors import UsageError
from lesionwise.files import writing

LOCK = ".lesionwise-batch.lock"


@contextmanager
def alone_in(target: Path) -> Iterator[None]:
    """Hold the lock of the folder `target`; it ends with this process, however that ends.

    Raises `UsageError` where another batch holds it, `InputError` where its file cannot be made.
    """
    path = target / LOCK
    with writing(path):
        file = path.open("wb")
    with file:
        if not _locked(file, path):
            raise UsageError(
                f"{target}: another batch writes to this folder; wait for its end, or name another folder"
            )
        try:
            yield
        finally:
            with suppress(OSError):
                path.unlink()


def _locked(file: BinaryIO, path: Path) -> bool:
    """Lock a file where its file system has locks; tell whether nobody else holds it, nor a newer one of that name."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(file.fileno()), path.stat())  # its last holder may have removed it
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError:  # no locks
        return True
