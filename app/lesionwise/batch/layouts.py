"""Where the cases of a folder are, and where their results go: the challenge's folders, pairs of files, or BIDS.

Names come from files and folders and are taken as they are: they name results, and are never run.
"""

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lesionwise.batch.bids import bids_cases
from lesionwise.batch.cases import ENDING, BatchCase, Extras, is_closed, natural_order, planned, visible_in
from lesionwise.challenge_layout import PROBABILITIES, SEGMENTATION, TIME1, TIME2
from lesionwise.errors import InputError, UsageError


def find_cases(
    source: Path, target: Path, layout: str = "auto", extras: Extras | None = None
) -> tuple[str, list[BatchCase]]:
    """Return the layout, and the cases below `source`, in natural order, with their results below `target`.

    `layout`: a name in `LAYOUTS`, or "auto" for the first of them that finds a case.
    A patient who lacks a scan is a case, too, and so is one whose scans are links that lead nowhere (of data that were
    not fetched): it fails when it is computed, and is named.
    Raises `InputError` where `source` is no folder, there is no case, or two would have one name, `UsageError` where an
    option does not suit the layout.
    """
    extras = extras or Extras()
    if not source.is_dir():
        raise InputError(f"{source}: this is no folder; give the folder that holds the cases")
    for name in LAYOUTS if layout == "auto" else (layout,):
        cases = LAYOUTS[name](source, target, extras)
        if cases:
            if name != "challenge" and extras.brain_mask_name:
                raise UsageError(f"--brain-mask-name is for the challenge's layout, and this is {name}")
            if name == "bids" and target.resolve() == source.resolve():
                raise UsageError(
                    f"{target}: results are a BIDS dataset of their own; name another folder, such as"
                    f" {target / 'derivatives/lesionwise'}"
                )
            _refuse_doubles(cases)
            return name, sorted(cases, key=lambda case: natural_order(case.name))
    closed = closed_folders(source)
    where = f" (there is no permission to look into {', '.join(closed)})" if closed else ""
    raise InputError(
        f"{source}: no case found{where}; it takes PATIENT/{TIME1} with {TIME2}, or files *_time01* with *_time02*,"
        " or BIDS (sub-*/ses-*/anat/*_FLAIR.nii.gz or .nii with two sessions or more)"
    )


def closed_folders(source: Path) -> list[str]:
    """Return what this user may not look into: whether it holds a patient cannot be told (lost+found does not)."""
    return [folder.name for folder in visible_in(source) if is_closed(folder)]


def _challenge(source: Path, target: Path, extras: Extras) -> list[BatchCase]:
    """Folders that hold either scan under the challenge's name."""
    cases = []
    for folder in visible_in(source):
        # A link that leads nowhere is a scan, too: reading it says so, instead of leaving the patient out.
        if os.path.lexists(folder / TIME1) or os.path.lexists(folder / TIME2):
            mask = folder / extras.brain_mask_name if extras.brain_mask_name else None
            pair = folder / TIME1, folder / TIME2
            case = _in_one_folder(folder.name, pair, target / folder.name, extras, mask)
            cases.append(replace(case, mask_advice="give --brain-mask-name NAME"))
    return cases


def _flat(source: Path, target: Path, extras: Extras) -> list[BatchCase]:
    """Files named alike but for _time01 and _time02, and for the ending; the name of the case is what is left without.

    Raises `InputError` where two files are of one time.
    """
    scans: dict[tuple[str, str], dict[str, Path]] = {}
    for path in visible_in(source):
        found = re.search("_time0([12])", path.name)
        is_folder = os.path.isdir(path)  # noqa: PTH112 - Path.is_dir raises for a link to where one may not look
        if found and not is_folder and ENDING.search(path.name):
            start, end = path.name[: found.start()], ENDING.sub("", path.name[found.end() :])
            times = scans.setdefault((start, end), {})
            if found[1] in times:
                raise InputError(f"{times[found[1]]} and {path}: two scans of one time; remove or rename one")
            times[found[1]] = path
    cases = []
    for (start, end), times in scans.items():
        found_one = next(iter(times.values())).name
        rest = found_one[len(f"{start}_time01") :]  # a scan that is missing is called alike
        time1, time2 = (times.get(time, source / f"{start}_time0{time}{rest}") for time in "12")
        # Without dots at its ends it is no "..", which would name the folder above the results.
        name = (start + end).strip("_.") or "case"
        cases.append(_in_one_folder(name, (time1, time2), target / name, extras))
    return cases


def _in_one_folder(
    name: str, pair: tuple[Path, Path], folder: Path, extras: Extras, brain_mask: Path | None = None
) -> BatchCase:
    images = folder / SEGMENTATION, folder / PROBABILITIES
    return BatchCase(name, planned(pair, folder, *images, extras, brain_mask), folder)


def _refuse_doubles(cases: list[BatchCase]) -> None:
    seen: dict[str, BatchCase] = {}
    for case in cases:
        if case.name in seen:
            raise InputError(
                f"{seen[case.name].case.time1} and {case.case.time1}: two cases would be named {case.name};"
                " remove or rename one"
            )
        seen[case.name] = case


LAYOUTS: dict[str, Callable[[Path, Path, Extras], list[BatchCase]]] = {
    "challenge": _challenge,
    "bids": bids_cases,
    "flat": _flat,
}
