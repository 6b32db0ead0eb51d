"""Output files: checked before the work starts, written whole or not at all.

Each file is written under a temporary name in its own folder and renamed at the end, so that nobody ever
sees half a file, and an existing file stays until its successor is complete.
"""

import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from lesionwise.errors import InputError, UsageError

Writer = Callable[[BinaryIO], object]
"""Writes the content of one file to the open file it is given."""


def check_outputs(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Refuse outputs that could not be written at the end, or that would destroy an input.

    Raises: `UsageError` where an output is one of the inputs (also by a link) or named twice; `InputError`
    where it is a folder, its folder is missing, or no file can be created there.
    """
    inputs = list(inputs)
    seen: set[Path] = set()
    for output in outputs:
        for source in inputs:
            if _same_file(output, source):
                raise UsageError(f"{output}: this output is the input {source}; name another file")
        if output.resolve() in seen:
            raise UsageError(f"{output}: two outputs have this name; name two files")
        seen.add(output.resolve())
        _check_writable(output)


@contextmanager
def output_folder(folder: Path) -> Iterator[None]:
    """Make a folder where there is none; after an error, one that was made here and is empty goes again.

    Raises `InputError` where it cannot be made.
    """
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: this folder cannot be made ({error.strerror}); choose another"
        ) from error
    try:
        yield
    except BaseException:
        with suppress(OSError):  # it holds something
            for place in made:
                place.rmdir()
        raise


def write_whole(writers: Mapping[Path, Writer]) -> None:
    """Write several files, each in one step: all under temporary names first, then all renamed.

    Permissions follow the umask. Raises `InputError` where a file cannot be written (no such folder, no
    permission, disk full); then no file has changed and no temporary file is left.
    """
    temporary: dict[Path, Path] = {}
    try:
        for path, write in writers.items():
            try:
                temporary[path] = _temporary_name(path)
                _write_new(temporary[path], write)
            except OSError as error:
                raise _unwritable(path, error) from error
        for path in writers:
            try:
                os.replace(temporary[path], path)  # noqa: PTH105 - the one call that says "in one step"
            except OSError as error:
                raise _unwritable(path, error) from error
    finally:
        for leftover in temporary.values():
            with suppress(OSError):
                leftover.unlink(missing_ok=True)


def json_writer(content: Mapping[str, Any]) -> Writer:
    """Return what writes a report as JSON; numbers that are not finite are refused."""
    return text_writer(json.dumps(content, indent=2, allow_nan=False) + "\n")


def text_writer(text: str) -> Writer:
    """Return what writes a text as UTF-8."""
    return lambda file: file.write(text.encode())


def _write_new(path: Path, write: Writer) -> None:
    """Create the file, which must not exist, with the permissions the umask leaves, and fill it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    with os.fdopen(descriptor, "wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())


def _check_writable(path: Path) -> None:
    """Create and remove a file beside `path`: what permissions, read-only disks and quotas really allow."""
    probe = _temporary_name(path)
    try:
        if path.is_dir():
            raise InputError(f"{path}: this output is a folder; give the name of a file")
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: this output is a device or a pipe; give the name of a file")
        _write_new(probe, lambda _: None)
        probe.unlink()
    except OSError as error:
        raise _unwritable(path, error) from error


def _same_file(output: Path, source: Path) -> bool:
    """Tell whether two names lead to one file, by whatever links."""
    try:
        return output.samefile(source)
    except OSError:
        return False


def _temporary_name(path: Path) -> Path:
    return path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.part")


def _unwritable(path: Path, error: OSError) -> InputError:
    if not path.parent.is_dir():
        return InputError(f"{path}: cannot be written, its folder does not exist; create it first")
    return InputError(f"{path}: cannot be written ({error.strerror}); choose another place or free this one")
