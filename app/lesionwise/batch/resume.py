"""Whether a case was finished before, so that it need not run again, and whether what is there may be replaced."""

import os
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from lesionwise.case_description import file_hashes, file_sha256
from lesionwise.case_files import Case, also_written, earlier_report
from lesionwise.errors import InputError


class OthersWorkError(InputError):
    """Computing a case would replace a file that no earlier start wrote."""


def finished_report(case: Case, computation: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the report of an earlier run that is complete and current, or None.

    Complete: every output that is asked for now is there, and was written with the table: the mask has the sha256 that it
    tells, and a page or a map of an earlier start would tell of another mask; and the table has what those of the cohort
    tell. Current: the report's sha256 of each input and what `case_description.describe_computation` told then are what they
    are now.

    Raises as `refuse_others_work`, finished or not: computing would replace it.
    """
    refuse_others_work(case)
    report = earlier_report(case.table)
    if report is None or not _can_be_told(report):
        return None
    if not all(path.is_file() and path.stat().st_size for path in case.outputs):
        return None
    if any(extra not in also_written(report) for extra in case.extras):
        return None
    facts = {key: value for key, value in computation.items() if key != "settings"}
    if not _holds(report, facts):
        return None
    try:
        same = _holds(report["settings"], computation["settings"])
        return report if same and report.get("inputs_sha256") == file_hashes(case.inputs) else None
    except InputError:  # the case will say so when it is computed
        return None


def refuse_others_work(case: Case) -> None:
    """Raise `OthersWorkError` where an output is there that the report of an earlier start does not tell of.

    No run leaves one, killed or not, because the report gets its name while what else it tells of has none
    (`pipeline.writers`): it is somebody's work, or the report is. Raises `InputError` where the mask cannot be read.
    """
    report = earlier_report(case.table) or {}
    told = report.get("mask_sha256")
    known: list[Path | None] = [case.table] if told else []
    if told and _is_there(case.output):
        if file_sha256(case.output) != told:
            raise OthersWorkError(
                f"{case.output}: this mask is not the one that was computed (corrected by hand?); move it away, or use"
                " --force"
            )
        known.append(case.output)
    written = also_written(report)
    known += [path for name, path in case.extra_files.items() if name in written]
    others = [str(path) for path in case.outputs if path not in known and _is_there(path)]
    if others:
        raise OthersWorkError(
            f"{' and '.join(others)}: no report of an earlier start tells of this; move it away, or use --force"
        )


def _is_there(path: Path) -> bool:
    """Tell whether a file is there that holds something, or a link that leads nowhere (to what was not fetched)."""
    try:
        return path.stat().st_size > 0
    except OSError:
        return os.path.lexists(path)


def _holds(told: Mapping[str, Any], facts: Mapping[str, Any]) -> bool:
    return all(told.get(key) == value for key, value in facts.items())


def _can_be_told(report: Mapping[str, Any]) -> bool:
    """Tell whether the tables and the page of a cohort can be made of a report: its file may be damaged."""
    match report:
        case {
            "new_lesions": int(),
            "new_lesion_volume_mm3": volume,
            "brain_volume_ml": brain,
            "lesions": list(lesions),
            "warnings": list(warnings),
            "settings": dict(),
            "versions": dict(),
            "seconds": dict(seconds),
        }:
            return (
                _are_numbers(volume, brain, *seconds.values())
                and all(map(_is_lesion, lesions))
                and all(isinstance(line, str) for line in warnings)
            )
    return False


def _is_lesion(entry: object) -> bool:
    match entry:
        case {
            "id": int(),
            "voxels": int(),
            "volume_mm3": volume,
            "centre_mm": [x, y, z],
            "longest_diameter_mm": diameter,
            "mean_probability": mean,
            "max_probability": highest,
            "confidence": confidence,
        }:
            confidence = 0 if confidence is None else confidence
            return _are_numbers(volume, x, y, z, diameter, mean, highest, confidence)
    return False


def _are_numbers(*values: object) -> bool:
    return all(isinstance(value, int | float) and isfinite(value) for value in values)
