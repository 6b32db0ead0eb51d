"""Any error as one line for people and an exit code."""

from lesionwise.errors import InputError, LesionwiseError


def explain(error: BaseException) -> tuple[str, int]:
    """Return what to tell the user of an error, in one line, and the exit code that belongs to it."""
    match error:
        case LesionwiseError():
            message, code = str(error), error.exit_code
        case MemoryError():
            message = "not enough memory; close other programs, give the container more, or lower --threads"
            code = 1
        case OSError():
            place = f"{error.filename}: " if error.filename else ""
            message = f"{place}{error.strerror or error}; check the disk and its permissions"
            code = InputError.exit_code
        case _ if "allocate memory" in str(error) or "out of memory" in str(error):
            message = f"not enough memory ({_first_line(error)}); give it more, or run with --device cpu"
            code = 1
        case _:
            message = f"unexpected {type(error).__name__}: {_first_line(error)}; --debug shows where"
            code = 1
    return " ".join(message.split()), code


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "no message")
