"""The errors that a user can mend, each with the exit code that the program ends with.

A message is one line: what is wrong, in which file, what to do. The command line prints it and exits;
the Python interface raises it.
"""

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar

from lesionwise.texts import one_line


class LesionwiseError(Exception):
    """Base of every error that is the user's to mend."""

    exit_code: ClassVar[int] = 1


class UsageError(LesionwiseError):
    """The command was asked for something that cannot be done as asked."""

    exit_code = 2


class InputError(LesionwiseError):
    """An input file is missing, damaged, hostile or not what the command needs; or an output cannot be written."""

    exit_code = 3


class PreprocessingError(LesionwiseError):
    """A preprocessing step failed its gate (for example: no brain of plausible size was found).

    `seen`: the message without the advice. `advice`: what to do, where commands differ in that; `advising` replaces it.
    """

    exit_code = 4

    def __init__(self, seen: str, advice: str = "") -> None:
        super().__init__(f"{seen}; {advice}" if advice else seen)
        self.seen, self.advice = seen, advice


TIMES = ("time 1", "time 2")
"""What messages call the two scans."""


@contextmanager
def about(subject: str) -> Iterator[None]:
    """Begin the message of a `PreprocessingError` that arises inside with what it is about, for example "time 1"."""
    try:
        yield
    except PreprocessingError as error:
        raise PreprocessingError(f"{subject}: {error.seen}", error.advice) from error


def advising(error: Exception, advice: str) -> Exception:
    """Return the error with advice that fits the command, where it has one that does not fit all; else as it is."""
    if isinstance(error, PreprocessingError) and error.advice:
        return PreprocessingError(error.seen, advice)
    return error


class WeightsError(LesionwiseError):
    """Weights are missing or are not the bytes that their manifest names."""

    exit_code = 5


class DeviceError(LesionwiseError):
    """The device that was asked for cannot be used."""

    exit_code = 5


class SomeCasesError(LesionwiseError):
    """Some cases of several failed; the others are done.

    `traces`: where each error arose, by the name of the case; they are shown with this error's own traceback.
    """

    exit_code = 1

    def __init__(self, message: str, traces: Mapping[str, str]) -> None:
        super().__init__(message)
        for name, trace in traces.items():
            self.add_note(f"{name}: {trace}")


STALE = " (its outputs are still those of an earlier start)"
"""Said after the error of a case, of several, that had been finished before."""


def trace(error: BaseException) -> str:
    """Return where an error arose, as a text: the error itself would keep the volumes of its case in memory."""
    return "".join(traceback.format_exception(error))


def explain(error: BaseException) -> tuple[str, int]:
    """Return one line for people and the exit code, also for errors that are not the program's own."""
    match error:
        case LesionwiseError():
            message, code = str(error), error.exit_code
        case _ if _is_out_of_own_memory(error):
            message = "not enough memory; close other programs, give the container more, or lower --threads"
            code = LesionwiseError.exit_code
        case OSError():
            place = f"{error.filename}: " if error.filename else ""
            message = f"{place}{error.strerror or error}; check the disk and its permissions"
            code = InputError.exit_code
        case _ if _is_out_of_gpu_memory(error):
            message = f"not enough memory ({_first_line(error)}); run with --device cpu"
            code = LesionwiseError.exit_code
        case _:
            message = f"unexpected {type(error).__name__}: {_first_line(error)}; --debug shows where"
            code = LesionwiseError.exit_code
    return one_line(message), code


def is_explained(error: BaseException) -> bool:
    """Tell whether `explain` knows what to do about an error; others are faults of the program."""
    known = isinstance(error, LesionwiseError | OSError)
    return known or _is_out_of_own_memory(error) or _is_out_of_gpu_memory(error)


def _is_out_of_own_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or "allocate memory" in str(error)


def _is_out_of_gpu_memory(error: BaseException) -> bool:
    return "out of memory" in str(error)  # torch's words


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "no message")
