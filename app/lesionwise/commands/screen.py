"""What commands write to standard output and standard error, which may be full or gone by then."""

import io
import sys
from contextlib import suppress

import click

from lesionwise.errors import InputError
from lesionwise.texts import readable


def say(text: str, *, nowhere_else: bool = False) -> None:
    """Write lines to standard output; where that fails, the work is done all the same, and the next lines go nowhere.

    Raises `InputError` where it fails and the lines stand `nowhere_else`; a reader who has seen enough is no failure.
    """
    try:
        click.echo(readable(text))
    except OSError as error:
        sys.stdout = io.StringIO()  # or the end of the program would try once more, and fail
        if nowhere_else and not isinstance(error, BrokenPipeError):
            raise InputError(
                f"standard output: cannot be written ({error.strerror}); choose another place or free this one"
            ) from error


def complain(line: str) -> None:
    """Write a line to standard error, if that takes it."""
    with suppress(OSError):  # a log that is full or gone is no reason to lose the work
        click.echo(line, err=True)
