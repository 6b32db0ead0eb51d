"""Ratios measured side by side in one run, their table in Markdown, and what became worse since the last one.

Seconds of another machine, or of another hour, say little; a ratio of two ways to do the same, in turn in one process,
says much. A benchmark module offers `rows()`, which yields `Row`s.
"""

import platform
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

REGRESSION = 1.20
"""A ratio that is worse by more than this is flagged."""

_ROW = re.compile(r"^\| (?P<name>[^|]+) \| (?P<ratio>[-+.e\d]+) \|")


@dataclass(frozen=True)
class Row:
    """One line: what is compared, how many times faster, or with `growth` how many times more is needed."""

    name: str
    ratio: float
    bar: float | None = None
    growth: bool = False

    @property
    def verdict(self) -> str:
        """Whether the ratio reaches the bar."""
        if self.bar is None:
            return ""
        return "yes" if (self.ratio <= self.bar if self.growth else self.ratio >= self.bar) else "no"


def cpu_seconds_in_turn(*ways: Callable[[], object], repeats: int = 3) -> list[float]:
    """Return the least CPU seconds of each of several ways, run in turn; a busy machine slows all alike."""
    least = [float("inf")] * len(ways)
    for _ in range(repeats):
        for index, way in enumerate(ways):
            start = time.process_time()
            way()
            least[index] = min(least[index], time.process_time() - start)
    return least


def beside_the_first(names: Iterable[str], seconds: Sequence[float]) -> list[str]:
    """Return a line for each way: its CPU seconds, and how many times those of the first, the way in use."""
    return [
        f"{name:45} {of_way:6.2f} CPU s, {of_way / seconds[0]:.2f} of the way in use"
        for name, of_way in zip(names, seconds, strict=True)
    ]


def markdown(rows: Iterable[Row]) -> str:
    """Return the file of results: the machine, then the table."""
    told = "Written by `make bench`, or by `python -m benchmarks MODULE` for a part; the ways of a row in one run."
    lines = ["# Benchmarks", "", told, ""]
    lines += [f"Machine: {machine()}.", "", "| what | ratio | bar | reached |", "|---|---|---|---|"]
    for row in rows:
        bar = "" if row.bar is None else f"{'<=' if row.growth else '>='} {row.bar:g}"
        lines.append(f"| {row.name} | {row.ratio:.3g} | {bar} | {row.verdict} |")
    return "\n".join(lines) + "\n"


def merged(stored: str, table: str) -> str:
    """Return the stored table with the rows of another in the places of their names, or after all others."""
    head, rows = _parted(table)
    by_name = {_name(row): row for row in _parted(stored)[1]} | {_name(row): row for row in rows}
    return "".join([*head, *by_name.values()])


def _name(line: str) -> str | None:
    """Return the name of a table's row; None for any other line."""
    found = _ROW.match(line)
    return found["name"] if found else None


def _parted(table: str) -> tuple[list[str], list[str]]:
    """Return the lines before a table's rows, and the rows."""
    lines = table.splitlines(keepends=True)
    return [line for line in lines if _name(line) is None], [
        line for line in lines if _name(line) is not None
    ]


def regressions(rows: Iterable[Row], stored: str) -> list[str]:
    """Return a line for each row that is worse than in the stored table by more than `REGRESSION`."""
    matches = (_ROW.match(line) for line in stored.splitlines())
    before = {match["name"].strip(): float(match["ratio"]) for match in matches if match}
    lines = []
    for row in rows:
        if row.name in before:
            worse = row.ratio / before[row.name] if row.growth else before[row.name] / row.ratio
            if worse > REGRESSION:
                lines.append(f"{row.name}: {before[row.name]:.3g} before, {row.ratio:.3g} now")
    return lines


def machine() -> str:
    """Return the processor, what it does fast, and its cores that this process may use."""
    import torch

    from lesionwise.devices import available_cpus

    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"model name\s*: (.*)", info)
    fast = [name for name, there in torch.cpu.get_capabilities().items() if there is True and "bf16" in name]
    return ", ".join(
        [
            model[1] if model else platform.processor(),
            f"{available_cpus()} cores",
            " and ".join(fast) if fast else "no fast bfloat16",
            f"torch {torch.__version__}",
        ]
    )
