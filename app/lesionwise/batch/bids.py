"""BIDS: which scans of a dataset are a case, and what makes a folder of results a derivative of it."""

import json
import os
from itertools import pairwise, product
from pathlib import Path

from lesionwise import __version__
from lesionwise.batch.cases import ENDING, BatchCase, Extras, is_closed, planned, visible_in
from lesionwise.errors import UsageError
from lesionwise.files import text_writer, write_whole

BIDS_VERSION = "1.10.0"
GENERATOR = "lesionwise"
DESCRIPTION = "dataset_description.json"


def bids_cases(source: Path, target: Path, extras: Extras) -> list[BatchCase]:
    """Return the cases: consecutive sessions of each subject that hold a FLAIR; results stand under the later session."""
    cases = []
    for subject in visible_in(source, "sub-*"):
        for (before, scans1), (after, scans2) in pairwise(_sessions(subject)):
            name = f"{subject.name}_{after}"
            pair, problem = _belonging(before, scans1, after, scans2)
            folder = target / subject.name / after
            stem = folder / "anat" / f"{name}_desc-newLesions"
            images = stem.with_name(f"{stem.name}_mask.nii.gz"), stem.with_name(f"{stem.name}_probseg.nii.gz")
            cases.append(BatchCase(name, planned(pair, folder, *images, extras), folder, problem))
    return cases


def _sessions(subject: Path) -> list[tuple[str, list[Path]]]:
    """Return the sessions of a subject that hold a FLAIR, with their FLAIRs, in the natural order of their labels."""
    return [(session.name, scans) for session in visible_in(subject, "ses-*") if (scans := _flairs(session))]


def _flairs(session: Path) -> list[Path]:
    """Return the FLAIRs of a session.

    One that this user may not look into counts as one that holds a FLAIR, and fails when that is read: without it, the
    sessions before and after would be taken for a pair.
    """
    anat = session / "anat"
    if is_closed(session) or is_closed(anat):
        return [anat / f"{session.parent.name}_{session.name}_FLAIR.nii.gz"]
    flairs = visible_in(anat, "*_FLAIR.nii*")
    return [path for path in flairs if ENDING.search(path.name)]


def _belonging(
    before: str, scans1: list[Path], after: str, scans2: list[Path]
) -> tuple[tuple[Path, Path], str]:
    """Return the scans of two sessions that belong together, or any two and why that is not clear."""
    pairs = list(product(scans1, scans2))
    alike = [pair for pair in pairs if _name(pair[0]).replace(f"_{before}_", f"_{after}_") == _name(pair[1])]
    if len(alike) == 1:
        return alike[0], ""
    if len(pairs) == 1:
        return pairs[0], ""
    advice = "keep one run of each" if alike else "keep one of each, or name the pair alike"
    return pairs[0], (
        f"{before} has {len(scans1)} FLAIRs and {after} has {len(scans2)}, and which belong together is not"
        f" clear; {advice}"
    )


def _name(scan: Path) -> str:
    return ENDING.sub("", scan.name)


def unpaired_subjects(source: Path) -> list[str]:
    """Return the subjects of a BIDS dataset with a FLAIR in fewer than two sessions: nothing to compare."""
    return [subject.name for subject in visible_in(source, "sub-*") if len(_sessions(subject)) < 2]


def check_description(target: Path) -> bool:
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


def write_description(target: Path) -> None:
    """Make `target` a BIDS derivative: dataset_description.json, and .bidsignore for what BIDS does not know.

    A .bidsignore that is there is kept. Raises as `check_description`, and `InputError` where they cannot be written.
    """
    check_description(target)
    described, ignored = target / DESCRIPTION, target / ".bidsignore"
    description = {
        "Name": "New multiple sclerosis lesions",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": GENERATOR, "Version": __version__}],
    }
    texts = {described: json.dumps(description, indent=2) + "\n"}
    if not os.path.lexists(ignored):
        texts[ignored] = "cohort.*\nlesions.csv\n**/report.*\n"
    write_whole({path: text_writer(text) for path, text in texts.items()})


def _generators(description: Path) -> list[str]:
    """Return the names of the programs that made a BIDS dataset, none where its description does not say."""
    try:
        return [program["Name"] for program in json.loads(description.read_bytes())["GeneratedBy"]]
    except (OSError, ValueError, LookupError, TypeError):
        return []
