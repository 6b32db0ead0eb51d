"""What may be asked for: choices and bounds of settings, the same on the command line and from Python.

It imports nothing heavy, so that help answers at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lesionwise.errors import UsageError

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "fp32", "bf16")
BRAIN_EXTRACTIONS = ("auto", "learned", "atlas")
OUTPUT_GRIDS = ("time1", "halfway", "time2")

WINDOW_MULTIPLE = 8
"""The network halves its windows three times."""


@dataclass(frozen=True)
class Bounds:
    """Numbers from `low` to `high`; `above`: not `low` itself; `below`: not `high` itself."""

    low: float
    high: float
    above: bool = False
    below: bool = False

    def hold(self, value: float) -> bool:
        """Tell whether a number lies within; NaN does not."""
        return (self.low < value if self.above else self.low <= value) and (
            value < self.high if self.below else value <= self.high
        )

    def __str__(self) -> str:
        low = "above" if self.above else "from"
        return f"{low} {self.low:g} to {'below ' if self.below else ''}{self.high:g}"


THRESHOLD = Bounds(0, 1, above=True, below=True)
CERTAINTY = Bounds(0, 1, below=True)
OVERLAP = Bounds(0, 0.9)
WINDOW_MM = Bounds(16, 1024)
THREADS = Bounds(0, 1024)


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raise `UsageError` where a setting is none of its choices."""
    if value not in choices:
        raise UsageError(f"{name} {value!r} is none of {', '.join(choices)}")


def check_number(name: str, value: object, bounds: Bounds, whole: bool = False) -> None:
    """Raise `UsageError` where a setting is no number, or no whole one, within its bounds."""
    # Not numpy's: those of single precision could not be written into a report.
    is_number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not (is_number and bounds.hold(value)):  # type: ignore[arg-type]
        raise UsageError(f"{name} {value!r} is no {'whole ' if whole else ''}number {bounds}")


def check_window(value: object) -> None:
    """Raise `UsageError` where an edge of windows is out of bounds or cannot be halved by the network."""
    check_number("window", value, WINDOW_MM, whole=True)
    if value % WINDOW_MULTIPLE:  # type: ignore[operator]
        raise UsageError(f"window {value} is not a multiple of {WINDOW_MULTIPLE}")
