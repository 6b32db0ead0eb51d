"""Where the cases of a folder are, and where their results go: the challenge's folders, pairs of files, or BIDS.

Names come from files and folders and are taken as they are: they name results, and are never run.
"""

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path

from lesionwise import __version__
from lesionwise.case_files import REPORT_PAGE, REPORT_TABLE, Case
from lesionwise.challenge_layout import PROBABILITIES, SEGMENTATION, TIME1, TIME2
from lesionwise.errors import InputError, UsageError
from lesionwise.files import text_writer, write_whole

BIDS_VERSION = "1.10.0"
GENERATOR = "lesionwise"
DESCRIPTION = "dataset_description.json"
_ENDING = re.compile(r"\.nii(\.gz)?$")


@dataclass(frozen=True)
class Extras:
    """What is read and written for each case beside the scans, the mask and the table."""

    probabilities: bool = False
    brain_mask_name: str | None = None
    report: bool = False


@dataclass(frozen=True)
class BatchCase:
    """One case of a batch. `folder`: where its table and its page go. `problem`: why it cannot be computed, if so."""

    name: str
    case: Case
    folder: Path
    problem: str = ""


def find_cases(
    source: Path, target: Path, layout: str = "auto", extras: Extras | None = None
) -> tuple[str, list[BatchCase]]:
    """Return the layout, and the cases below `source`, in natural order, with their results below `target`.

    `layout`: a name in `LAYOUTS`, or "auto" for the first of them that finds a case.
    A patient who lacks a scan is a case, too, and so is one whose scans are links that lead nowhere (of data that were
    not fetched): it fails when it is computed, and is named.
    Raises `UsageError` where `source` is no folder or an option does not suit the layout, `InputError` where
    there is no case, or two would have one name.
    """
    extras = extras or Extras()
    if not source.is_dir():
        raise UsageError(f"{source}: this is no folder; give the folder that holds the cases")
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


def natural_order(name: str) -> tuple[list[str | int], str]:
    """Return what sorts names as people do, their numbers as numbers: ses-M6 comes before ses-M12."""
    parts = re.split("([0-9]+)", name)  # text and digits in turn
    return [int(part) if number % 2 else part for number, part in enumerate(parts)], name


def closed_folders(source: Path) -> list[str]:
    """Return what this user may not look into: whether it holds a patient cannot be told (lost+found does not)."""
    return [folder.name for folder in _visible(source) if _is_closed(folder)]


def unpaired_subjects(source: Path) -> list[str]:
    """Return the subjects of a BIDS dataset with a FLAIR in fewer than two sessions: nothing to compare."""
    return [subject.name for subject in _visible(source, "sub-*") if len(_bids_sessions(subject)) < 2]


def check_bids_description(target: Path) -> bool:
    """Tell whether `target` is a BIDS derivative of this program.

    Raises `UsageError` where it is a dataset that others made.
    """
    described = target / DESCRIPTION
    generators = _generators(described) if os.path.lexists(described) else None
    if generators not in (None, [GENERATOR]):
        raise UsageError(
            f"{described}: this dataset is not one of {GENERATOR} alone; name another folder for the results"
        )
    return generators is not None


def write_bids_description(target: Path) -> None:
    """Make `target` a BIDS derivative: dataset_description.json, and .bidsignore for what BIDS does not know.

    Raises as `check_bids_description`, and `InputError` where they cannot be written.
    """
    ours = check_bids_description(target)
    described, ignored = target / DESCRIPTION, target / ".bidsignore"
    description = {
        "Name": "New multiple sclerosis lesions",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": GENERATOR, "Version": __version__}],
    }
    texts = {described: json.dumps(description, indent=2) + "\n"}
    if ours or not ignored.exists():
        texts[ignored] = "cohort.*\nlesions.csv\n**/report.*\n"
    write_whole({path: text_writer(text) for path, text in texts.items()})


def _generators(description: Path) -> list[str]:
    """Return the names of the programs that made a BIDS dataset, none where its description does not say."""
    try:
        return [program["Name"] for program in json.loads(description.read_bytes())["GeneratedBy"]]
    except (OSError, ValueError, LookupError, TypeError):
        return []


def _challenge(source: Path, target: Path, extras: Extras) -> list[BatchCase]:
    """Folders that hold either scan under the challenge's name."""
    cases = []
    for folder in _visible(source):
        # A link that leads nowhere is a scan, too: reading it says so, instead of leaving the patient out.
        if os.path.lexists(folder / TIME1) or os.path.lexists(folder / TIME2):
            mask = folder / extras.brain_mask_name if extras.brain_mask_name else None
            pair = folder / TIME1, folder / TIME2
            cases.append(_in_one_folder(folder.name, pair, target / folder.name, extras, mask))
    return cases


def _flat(source: Path, target: Path, extras: Extras) -> list[BatchCase]:
    """Files named alike but for _time01 and _time02, and for the ending; the name of the case is what is left without.

    Raises `InputError` where two files are of one time.
    """
    scans: dict[tuple[str, str], dict[str, Path]] = {}
    for path in _visible(source):
        found = re.search("_time0([12])", path.name)
        is_folder = os.path.isdir(path)  # noqa: PTH112 - Path.is_dir raises for a link to where one may not look
        if found and not is_folder and _ENDING.search(path.name):
            start, end = path.name[: found.start()], _ENDING.sub("", path.name[found.end() :])
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


def _bids(source: Path, target: Path, extras: Extras) -> list[BatchCase]:
    """Consecutive sessions of each subject that hold a FLAIR; results stand under the later session."""
    cases = []
    for subject in _visible(source, "sub-*"):
        for (before, scans1), (after, scans2) in pairwise(_bids_sessions(subject)):
            name = f"{subject.name}_{after}"
            pair, problem = _bids_pair(before, scans1, after, scans2)
            folder = target / subject.name / after
            stem = folder / "anat" / f"{name}_desc-newLesions"
            images = stem.with_name(f"{stem.name}_mask.nii.gz"), stem.with_name(f"{stem.name}_probseg.nii.gz")
            cases.append(BatchCase(name, _case(pair, folder, *images, extras), folder, problem))
    return cases


def _bids_sessions(subject: Path) -> list[tuple[str, list[Path]]]:
    """Return the sessions of a subject that hold a FLAIR, with their FLAIRs, in the natural order of their labels."""
    return [
        (session.name, scans) for session in _visible(subject, "ses-*") if (scans := _bids_flairs(session))
    ]


def _bids_flairs(session: Path) -> list[Path]:
    """Return the FLAIRs of a session.

    One that this user may not look into counts as one that holds a FLAIR, and fails when that is read: without it, the
    sessions before and after would be taken for a pair.
    """
    anat = session / "anat"
    if _is_closed(session) or _is_closed(anat):
        return [anat / f"{session.parent.name}_{session.name}_FLAIR.nii.gz"]
    flairs = _visible(anat, "*_FLAIR.nii*")
    return [path for path in flairs if _ENDING.search(path.name)]


def _bids_pair(
    before: str, scans1: list[Path], after: str, scans2: list[Path]
) -> tuple[tuple[Path, Path], str]:
    """Return the scans of two sessions that belong together, or any two and why that is not clear."""
    pairs = list(product(scans1, scans2))
    alike = [
        pair
        for pair in pairs
        if _bids_name(pair[0]).replace(f"_{before}_", f"_{after}_") == _bids_name(pair[1])
    ]
    if len(alike) == 1:
        return alike[0], ""
    if len(pairs) == 1:
        return pairs[0], ""
    advice = "keep one run of each" if alike else "keep one of each, or name the pair alike"
    return pairs[0], (
        f"{before} has {len(scans1)} FLAIRs and {after} has {len(scans2)}, and which belong together is not"
        f" clear; {advice}"
    )


def _bids_name(scan: Path) -> str:
    return _ENDING.sub("", scan.name)


def _in_one_folder(
    name: str, pair: tuple[Path, Path], folder: Path, extras: Extras, brain_mask: Path | None = None
) -> BatchCase:
    images = folder / SEGMENTATION, folder / PROBABILITIES
    return BatchCase(name, _case(pair, folder, *images, extras, brain_mask), folder)


def _case(
    pair: tuple[Path, Path],
    folder: Path,
    output: Path,
    probabilities: Path,
    extras: Extras,
    brain_mask: Path | None = None,
) -> Case:
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


def _visible(folder: Path, pattern: str = "*") -> list[Path]:
    visible = (path for path in folder.glob(pattern) if not path.name.startswith("."))
    return sorted(visible, key=lambda path: natural_order(path.name))


def _is_closed(folder: Path) -> bool:
    try:
        (folder / "any").lstat()
    except OSError as error:
        return isinstance(error, PermissionError)
    return False


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
    "bids": _bids,
    "flat": _flat,
}
