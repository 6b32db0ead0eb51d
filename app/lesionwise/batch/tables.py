"""The tables of a batch: cohort.csv, a row a case, and lesions.csv, a row a lesion."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lesionwise.texts import cell

COHORT_TABLE, LESION_TABLE = "cohort.csv", "lesions.csv"

COHORT_COLUMNS = (
    *("case", "state", "new_lesions", "new_lesion_volume_mm3", "brain_volume_ml", "seconds"),
    *("warnings", "error"),
)

DONE, KEPT, FAILED, WAITING = "done", "kept", "failed", "not run"
"""What became of a case; `KEPT`: it was finished by an earlier start."""


@dataclass(frozen=True)
class CaseResult:
    """What became of one case. `report`: what `segment --json` holds, where there is one. `trace`: of its error."""

    name: str
    state: str = WAITING
    report: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    trace: str = ""

    @property
    def finished(self) -> bool:
        """Whether its outputs are there and current."""
        return self.state in (DONE, KEPT)

    @property
    def seconds(self) -> float:
        """How long it took to compute, also where that was earlier."""
        return float(sum(self.report.get("seconds", {}).values()))


def cohort_table(results: Iterable[CaseResult]) -> str:
    """Return the CSV: state, new lesions and their volume, seconds, warnings and error of each case."""
    rows = []
    for result in results:
        report = result.report
        rows.append(
            {
                "case": cell(result.name),
                "state": result.state,
                "new_lesions": report.get("new_lesions", ""),
                "new_lesion_volume_mm3": report.get("new_lesion_volume_mm3", ""),
                "brain_volume_ml": report.get("brain_volume_ml", ""),
                "seconds": f"{result.seconds:.1f}" if result.finished else "",
                "warnings": cell("; ".join(report.get("warnings", []))),
                "error": cell(result.error),
            }
        )
    return _csv(COHORT_COLUMNS, rows)


def is_cohort_table(path: Path) -> bool:
    """Tell whether a file is a table as `cohort_table` makes it: its first columns are."""
    begin = ",".join(COHORT_COLUMNS[:2]).encode()
    try:
        with path.open("rb") as file:
            return file.read(len(begin)) == begin
    except OSError:
        return False


def lesions_table(results: Iterable[CaseResult]) -> str:
    """Return the CSV: the fields of each lesion of `segment --json`, with the name of its case; places where it has one."""
    rows = []
    for result in results:
        for lesion in result.report.get("lesions", []):
            x, y, z = lesion["centre_mm"]
            rows.append(
                {
                    "case": cell(result.name),
                    "lesion": lesion["id"],
                    "volume_mm3": f"{lesion['volume_mm3']:.3f}",
                }
                | {"side": lesion.get("side", ""), "region": lesion.get("region", "")}
                | {"voxels": lesion["voxels"], "x_mm": f"{x:.2f}", "y_mm": f"{y:.2f}", "z_mm": f"{z:.2f}"}
                | {
                    name: f"{lesion[name]:.3f}"
                    for name in ("longest_diameter_mm", "mean_probability", "max_probability")
                }
                | {"confidence": "" if lesion.get("confidence") is None else f"{lesion['confidence']:.3f}"}
            )
    header = (
        *("case", "lesion", "volume_mm3", "side", "region", "voxels", "x_mm", "y_mm", "z_mm"),
        *("longest_diameter_mm", "mean_probability", "max_probability", "confidence"),
    )
    return _csv(header, rows)


def _csv(header: Sequence[str], rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, header, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
