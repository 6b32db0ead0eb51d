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

    Raises `InputError` where the mask is not the one that the report tells of, finished or not: computing would replace it.
    """
    report = earlier_report(case.table)
    if report is None:
        return None
    _refuse_another_mask(case, report)
    if not _can_be_told(report):
        return None
    if not all(path.is_file() and path.stat().st_size for path in case.outputs):
        return None
    if any(extra not in also_written(report) for extra in case.extras):
        return None
    facts = {key: value for key, value in computation.items() if key != "settings"}
    if report.get("mask_sha256") is None or not _holds(report, facts):
        return None
    try:
        same = _holds(report["settings"], computation["settings"])
        return report if same and report.get("inputs_sha256") == file_hashes(case.inputs) else None
    except InputError:  # the case will say so when it is computed
        return None


def _refuse_another_mask(case: Case, report: Mapping[str, Any]) -> None:
    """Raise `InputError` where the mask is not the report's.

    No run leaves it so, killed or not, because the report goes before its mask is replaced: it is somebody's work. Reports
    of before they told the sha256 of their mask say nothing of it.
    """
    told, mask = report.get("mask_sha256"), case.output
    if told is None or not (mask.is_file() and mask.stat().st_size):
        return
    if file_hashes({"mask": mask})["mask"] != told:
        raise InputError(
            f"{mask}: this mask is not the one that was computed (corrected by hand?); move it away, or use --force"
        )


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
