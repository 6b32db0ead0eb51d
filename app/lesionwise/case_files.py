"""The files of a case: what is read, what is written, and what else was asked for."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPORT_PAGE, REPORT_TABLE = "report.html", "report.json"
"""The names of a report's two files."""


@dataclass(frozen=True)
class Case:
    """The files of one case: two scans in, a mask and on request more out.

    `report`: a folder, made where it is missing, for the page `REPORT_PAGE` and the same table as `table`.
    `former_probabilities`, `former_page`: where an earlier run wrote what is not asked for now, if it did.
    """

    time1: Path
    time2: Path
    output: Path
    probabilities: Path | None = None
    table: Path | None = None
    brain_mask: Path | None = None
    report: Path | None = None
    former_probabilities: Path | None = None
    former_page: Path | None = None

    @property
    def inputs(self) -> dict[str, Path]:
        """The files that are read, by what they are."""
        files = {"time1": self.time1, "time2": self.time2, "brain_mask": self.brain_mask}
        return {name: path for name, path in files.items() if path}

    @property
    def outputs(self) -> list[Path]:
        """The files that are written."""
        return [path for path in (self.output, self.probabilities, *self.tables, self.page) if path]

    @property
    def extra_files(self) -> dict[str, Path]:
        """The files that are written beside the mask and the table, by what they are."""
        wanted = {"probabilities": self.probabilities, "report": self.page}
        return {name: path for name, path in wanted.items() if path}

    @property
    def extras(self) -> list[str]:
        """What is written beside the mask and the table."""
        return list(self.extra_files)

    @property
    def tables(self) -> list[Path]:
        """The files that get the table: the one that was named, and the one in the report's folder."""
        wanted = (self.table, self.report / REPORT_TABLE if self.report else None)
        return list(dict.fromkeys(path for path in wanted if path))

    @property
    def page(self) -> Path | None:
        """The page of the report."""
        return self.report / REPORT_PAGE if self.report else None


def earlier_report(table: Path | None) -> dict[str, Any] | None:
    """Return what the table of a case holds before this run writes it, or None; it may be another program's."""
    try:
        report = json.loads(table.read_bytes()) if table else None
    except (OSError, ValueError, RecursionError):
        return None
    return report if isinstance(report, dict) else None


def also_written(report: Mapping[str, Any]) -> list[Any]:
    """Return the `extras` that were written with a report; none where it does not say so."""
    told = report.get("also_written")
    return told if isinstance(told, list) else []


def outdated_extras(case: Case) -> list[Path]:
    """Return what the earlier report says was written with it and this run does not replace: it tells of another mask."""
    told = also_written(earlier_report(case.table) or {})
    former = {"probabilities": case.former_probabilities, "report": case.former_page}
    return [path for name, path in former.items() if path and name in told]
