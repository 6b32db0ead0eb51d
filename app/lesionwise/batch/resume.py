"""Whether a case was finished before with the same inputs, weights and options, so that it need not run again."""

from collections.abc import Mapping
from typing import Any

from lesionwise.case_description import file_hashes
from lesionwise.case_files import Case, also_written, earlier_report
from lesionwise.errors import InputError


def finished_report(case: Case, computation: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the report of an earlier run that is complete and current, or None.

    Complete: every output that is asked for now is there, and was written with the table: a page or a map of an earlier
    start would tell of another mask. Current: the report's sha256 of each input and what
    `case_description.describe_computation` told then are what they are now.
    """
    report = earlier_report(case.table)
    if report is None or not all(path.is_file() and path.stat().st_size for path in case.outputs):
        return None
    settings = report["settings"] if isinstance(report.get("settings"), dict) else {}
    if any(extra not in also_written(report) for extra in case.extras):
        return None
    same = all(report.get(key) == computation[key] for key in ("lesionwise", "weights_sha256")) and all(
        settings.get(key) == value for key, value in computation["settings"].items()
    )
    try:
        return report if same and report.get("inputs_sha256") == file_hashes(case.inputs) else None
    except InputError:  # the case will say so when it is computed
        return None
