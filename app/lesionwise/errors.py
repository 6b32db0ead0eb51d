"""The errors that a user can mend, each with the exit code that the program ends with.

A message is one line: what is wrong, in which file, what to do. The command line prints it and exits;
the Python interface raises it.
"""

from typing import ClassVar


class LesionwiseError(Exception):
    """Base of every error that is the user's to mend."""

    exit_code: ClassVar[int] = 1


class SomeCasesFailedError(LesionwiseError):
    """Some cases of several could not be done; the others are."""


class UsageError(LesionwiseError):
    """The command was asked for something that cannot be done as asked."""

    exit_code = 2


class InputError(LesionwiseError):
    """An input file is missing, damaged, hostile or not what the command needs; or an output cannot be written."""

    exit_code = 3


class PreprocessingError(LesionwiseError):
    """A preprocessing step failed its gate (for example: no brain of plausible size was found)."""

    exit_code = 4


class WeightsError(LesionwiseError):
    """Weights are missing or are not the bytes that their manifest names."""

    exit_code = 5


class DeviceError(LesionwiseError):
    """The device that was asked for cannot be used."""

    exit_code = 5
