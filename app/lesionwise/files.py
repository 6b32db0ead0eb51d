"""Output files: checked before the work starts, written whole or not at all.

Each file is written under a temporary name in its own folder and renamed at the end, so that nobody ever
sees half a file, and an existing file stays until its successor is complete. A process that is killed outright
leaves its temporary files; the next one that writes the same file removes them.
"""

import errno
import fcntl
import io
import json
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from lesionwise.errors import InputError, UsageError
from lesionwise.texts import readable

Writer = Callable[[BinaryIO], object]
"""Writes the content of one file to the open file it is given."""


def check_outputs(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Refuse outputs that could not be written at the end, or that would destroy an input.

    Raises: `UsageError` where an output is one of the inputs (also by a link) or named twice; `InputError`
    where it is a folder, its folder is missing, or no file can be created there. Temporary files of these outputs
    that a killed process left are removed.
    """
    inputs = list(inputs)
    seen: set[str] = set()
    for output in outputs:
        for source in inputs:
            if _same_file(output, source):
                raise UsageError(f"{output}: this output is the input {source}; name another file")
        place = os.path.realpath(output)  # Path.resolve would raise for a link that leads to itself
        if place in seen:
            raise UsageError(f"{output}: two outputs have this name; name two files")
        seen.add(place)
        _check_writable(output)
        _remove_leftovers(output)


@contextmanager
def unchanged(inputs: Iterable[Path]) -> Iterator[None]:
    """Read inputs inside; raises `InputError` at the end where one of them has changed or was replaced meanwhile."""
    before = {path: _identity(path) for path in inputs}
    yield
    for path, identity in before.items():
        if _identity(path) != identity:
            raise InputError(f"{path}: this file changed while it was read; start again when it is complete")


def make_folder(folder: Path) -> None:
    """Make a folder and those above it. Raises `InputError` where that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: this folder cannot be made ({error.strerror}); choose another"
        ) from error


@contextmanager
def output_folder(folder: Path) -> Iterator[None]:
    """Make a folder where there is none; after an error, one that was made here and is empty goes again.

    Raises `InputError` where it cannot be made.
    """
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    make_folder(folder)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # it holds something
            for place in made:
                place.rmdir()
        raise


def write_whole(writers: Mapping[Path, Writer], outdated: Iterable[Path] = ()) -> None:
    """Write several files, each in one step: all under temporary names first, then all renamed.

    New files never stand beside old ones of the same call: between the steps some may be missing. `outdated`: files of
    an earlier run that have no successor in this one and go with its others.

    Permissions follow the umask. Raises `InputError` where a file cannot be written or replaced (no such folder, no
    permission, disk full, another user's file in a sticky folder); then no file has changed and no temporary file is left.
    After an interruption all files are the old ones or, from the moment when the first new one has its name, the new ones.
    """
    temporary: dict[Path, Path] = {}
    aside: dict[Path, Path] = {}
    try:
        for path, write in writers.items():
            with writing(path):
                temporary[path] = _temporary_name(path)
                _write_new(temporary[path], write)
        for path in [*list(writers)[1:], *outdated]:
            with writing(path):
                aside[path] = _temporary_name(path)
                _set_aside(path, aside[path])
        for path in writers:
            with writing(path):
                os.replace(temporary[path], path)  # noqa: PTH105 - the one call that says "in one step"
    except BaseException:
        first = next(iter(temporary.values()), None)
        if first is not None and first.exists():  # no new file has its name
            for path, old in aside.items():
                with suppress(OSError):  # there was none
                    old.rename(path)
        elif len(temporary) == len(writers):
            for path, new in temporary.items():
                with suppress(OSError):  # it has its name already
                    os.replace(new, path)  # noqa: PTH105
        raise
    finally:
        for leftover in (*temporary.values(), *aside.values()):
            with suppress(OSError):
                leftover.unlink(missing_ok=True)


def json_writer(content: Mapping[str, Any]) -> Writer:
    """Return what writes a report as JSON; numbers that are not finite are refused."""
    return text_writer(json.dumps(content, indent=2, allow_nan=False) + "\n")


def text_writer(text: str) -> Writer:
    """Return what writes a text, made `readable`, in UTF-8."""
    return lambda file: file.write(readable(text).encode())


def bytes_writer(whole: bytes) -> Writer:
    """Return what writes bytes as they are."""
    return lambda file: file.write(whole)


def content(write: Writer) -> bytes:
    """Return what a writer would write."""
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def _set_aside(path: Path, aside: Path) -> None:
    """Rename a file, if there is one: what cannot be renamed cannot be replaced either."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    with suppress(FileNotFoundError):
        path.rename(aside)


def _write_new(path: Path, write: Writer) -> None:
    """Create the file, which must not exist, with the permissions the umask leaves, and fill it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    with os.fdopen(descriptor, "wb") as file:
        with suppress(OSError):  # some file systems have no locks
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # says that its writer lives
        write(file)
        file.flush()
        os.fsync(file.fileno())


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files of `path` whose writer is gone: nobody holds their lock."""
    ours = re.compile(re.escape(f".{_short_name(path)}.") + r"[0-9a-f]{8}\.part")
    entries: list[Path] = []
    with suppress(OSError):  # a folder may be one to write into and not to list
        entries = list(path.parent.iterdir())
    for entry in entries:
        if ours.fullmatch(entry.name):
            with suppress(OSError), entry.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                entry.unlink()


def _check_writable(path: Path) -> None:
    """Create and remove a file beside `path`: what permissions, read-only disks and quotas really allow."""
    try:
        if path.is_dir():
            raise InputError(f"{path}: this output is a folder; give the name of a file")
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: this output is a device or a pipe; give the name of a file")
        if _is_anothers(path):
            raise InputError(
                f"{path}: this file is another user's, and its folder lets nobody else replace it; give another name"
            )
        probe = _temporary_name(path)  # a folder such as . has no name to make one of
        try:
            _write_new(probe, lambda _: None)
        finally:
            with suppress(OSError):
                probe.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error


def _is_anothers(path: Path) -> bool:
    """Tell whether a file is there that only its owner may replace: another user's in a sticky folder, such as /tmp."""
    if not os.path.lexists(path):
        return False
    folder, user = path.parent.stat(), os.geteuid()
    return bool(folder.st_mode & stat.S_ISVTX) and user not in (0, folder.st_uid, path.lstat().st_uid)


def _identity(path: Path) -> tuple[int, ...] | None:
    """Return what changes when a file is written to or replaced; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _same_file(output: Path, source: Path) -> bool:
    """Tell whether two names lead to one file, by whatever links."""
    try:
        return output.samefile(source)
    except OSError:
        return False


def _temporary_name(path: Path) -> Path:
    return path.with_name(f".{_short_name(path)}.{secrets.token_hex(4)}.part")


def _short_name(path: Path) -> str:
    """Return the first 100 bytes of a file's name: file systems count bytes, and allow 255."""
    return os.fsdecode(os.fsencode(path.name)[:100])


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Write to `path` inside: turns an `OSError` into the `InputError` that says that `path` cannot be written."""
    try:
        yield
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> InputError:
    if not path.parent.is_dir():
        return InputError(f"{path}: cannot be written, its folder does not exist; create it first")
    return InputError(f"{path}: cannot be written ({error.strerror}); choose another place or free this one")
