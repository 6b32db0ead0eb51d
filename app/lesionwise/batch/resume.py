"""Whether a case was finished before with the same inputs, weights and options, so that it need not run again."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

from lesionwise.case_description import file_hashes
from lesionwise.case_files import Case, also_written, earlier_report
from lesionwise.errors import InputError


def finished_report(case: Case, computation: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the report of an earlier run that is complete and current, or None.

    Complete: every output that is asked for now is there, and was written with the table: the mask has the sha256 that it
    tells, and a page or a map of an earlier start would tell of another mask; and the table has what those of the cohort
    tell. Current: the report's sha256 of each input and what `case_description.describe_computation` told then are what they
    are now.
    """
    report = earlier_report(case.table)
    if report is None or not _can_be_told(report):
        return None
    if not all(path.is_file() and path.stat().st_size for path in case.outputs):
        return None
    if any(extra not in also_written(report) for extra in case.extras):
        return None
    facts = {key: value for key, value in computation.items() if key != "settings"}
    same = _holds(report, facts) and _holds(report["settings"], computation["settings"])
    try:
        same = same and report.get("mask_sha256") == file_hashes({"mask": case.output})["mask"]
        return report if same and report.get("inputs_sha256") == file_hashes(case.inputs) else None
    except InputError:  # the case will say so when it is computed
        return None


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
