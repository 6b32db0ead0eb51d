"""One batch at a time in a folder of results: two would compute every case twice, and mix their outputs."""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lesionwise.errors import InputError, UsageError
from lesionwise.files import writing

LOCK = ".lesionwise-batch.lock"


@contextmanager
def alone_in(target: Path) -> Iterator[None]:
    """Hold the lock of the folder `target`; it ends with this process, however that ends.

    Raises `UsageError` where another batch holds it, `InputError` where its file cannot be made or is no plain file.
    """
    path = target / LOCK
    with writing(path):
        descriptor = _opened(path)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _no_plain_file(path)
        if not _locked(descriptor, path):
            raise UsageError(
                f"{target}: another batch writes to this folder; wait for its end, or name another folder"
            )
        try:
            yield
        finally:
            with suppress(OSError):
                path.unlink()
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int:
    """Open the file, made where it is missing, and change nothing in one that is there: whoever shares OUT may have put it."""
    flags = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe would be waited for
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o666)
    except PermissionError as error:
        try:  # another user's can be locked, too
            return os.open(path, os.O_RDONLY | flags)
        except OSError:
            raise error from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _no_plain_file(path) from error
        raise


def _no_plain_file(path: Path) -> InputError:
    return InputError(f"{path}: this is a link or no file, and not the lock of a batch; remove it")


def _locked(descriptor: int, path: Path) -> bool:
    """Lock a file where its file system has locks; tell whether nobody else holds it, nor a newer one of that name."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), path.lstat())  # its last holder may have removed it
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError:  # no locks
        return True
