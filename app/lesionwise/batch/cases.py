"""What a batch plans for each case, and how names in a folder are read, whatever its layout."""

import re
from dataclasses import dataclass
from pathlib import Path

from lesionwise.case_files import REPORT_PAGE, REPORT_TABLE, Case

ENDING = re.compile(r"\.nii(\.gz)?$")
"""Of the name of a scan."""


@dataclass(frozen=True)
class Extras:
    """What is read and written for each case beside the scans, the mask and the table."""

    probabilities: bool = False
    brain_mask_name: str | None = None
    report: bool = False


@dataclass(frozen=True)
class BatchCase:
    """One case of a batch. `folder`: where its table and its page go. `problem`: why it cannot be computed, if so.

    `mask_advice`: how it could be given a brain mask, where no brain is found.
    """

    name: str
    case: Case
    folder: Path
    problem: str = ""
    mask_advice: str = "segment this case alone with --brain-mask FILE"


def planned(
    pair: tuple[Path, Path],
    folder: Path,
    output: Path,
    probabilities: Path,
    extras: Extras,
    brain_mask: Path | None = None,
) -> Case:
    """Return the files of a case whose table and page go to a folder; `pair`: time 1 and time 2."""
    return Case(
        *pair,
        output=output,
        probabilities=probabilities if extras.probabilities else None,
        table=folder / REPORT_TABLE,
        brain_mask=brain_mask,
        report=folder if extras.report else None,
        former_probabilities=None if extras.probabilities else probabilities,
        former_page=None if extras.report else folder / REPORT_PAGE,
    )


def natural_order(name: str) -> tuple[list[str | int], str]:
    """Return what sorts names as people do, their numbers as numbers: ses-M6 comes before ses-M12."""
    parts = re.split("([0-9]+)", name)  # text and digits in turn
    return [int(part) if number % 2 else part for number, part in enumerate(parts)], name


def visible_in(folder: Path, pattern: str = "*") -> list[Path]:
    """Return what a folder holds that is not hidden, in natural order."""
    visible = (path for path in folder.glob(pattern) if not path.name.startswith("."))
    return sorted(visible, key=lambda path: natural_order(path.name))


def is_closed(folder: Path) -> bool:
    """Tell whether this user may not look into a folder."""
    try:
        (folder / "any").lstat()
    except OSError as error:
        return isinstance(error, PermissionError)
    return False
