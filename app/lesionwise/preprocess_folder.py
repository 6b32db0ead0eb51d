"""A folder of patients in the challenge's layout, preprocessed one after the other.

What the challenge's `animaMSLongitudinalPreprocessing.py` does with a folder, but that a patient who fails does not
end the run.
"""

import os
from collections.abc import Callable
from pathlib import Path

from lesionwise.challenge_layout import TIME1, TIME2, TRUTHS
from lesionwise.errors import STALE, InputError, SomeCasesError, advising, explain, trace
from lesionwise.preprocess_case import REPORT, PreprocessCase
from lesionwise.texts import visible

MASK_ADVICE = "check the scans or preprocess this patient alone (-t1, -t2) with --brain-mask FILE"
"""Where no brain is found: a folder has no option for brain masks."""

PreprocessOne = Callable[[PreprocessCase], object]


def find_patients(
    folder: Path, output: Path, template: Path | None = None, copy_truths: bool = True
) -> list[PreprocessCase]:
    """Return a case for each subfolder of `folder`, sorted by name; each is written to the same name in `output`.

    Ground truths lie on the grid of the scans: they are not to be copied where the images leave it.

    Hidden folders are no patients, nor is what holds `output` and no scan of its own. Whether the scans are there, and
    whether this user may look into the folder at all, is found out when their turn comes.

    Raises `InputError` where there is no folder or no subfolder.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder}: this is no folder; give a folder of patients, or two scans with -t1 and -t2"
        )
    patients = sorted(
        entry
        for entry in folder.iterdir()
        if _is_folder(entry) and entry.name[0] != "." and not _only_holds(entry, output)
    )
    if not patients:
        raise InputError(f"{folder}: no patient found; it takes PATIENT/{TIME1} and PATIENT/{TIME2}")
    return [
        PreprocessCase(
            patient / TIME1,
            patient / TIME2,
            output / patient.name,
            template=template,
            # A link that leads nowhere is a truth, too: copying it fails, instead of leaving it out.
            copied=tuple(path for name in TRUTHS if copy_truths and os.path.lexists(path := patient / name)),
        )
        for patient in patients
    ]


def _is_folder(entry: Path) -> bool:
    try:
        return entry.is_dir()
    except PermissionError:  # a link to below a folder that this user may not look into
        return True


def _only_holds(entry: Path, output: Path) -> bool:
    """Tell whether a folder is `output`, or lies around it and has no scans of its own."""
    entry, output = entry.resolve(), output.resolve()
    scans = any(os.path.lexists(entry / name) for name in (TIME1, TIME2))
    return entry == output or (output.is_relative_to(entry) and not scans)


def preprocess_patients(
    cases: list[PreprocessCase],
    preprocess: PreprocessOne,
    note: Callable[[str], None],
    complain: Callable[[str], None],
) -> None:
    """Call `preprocess` for each patient, and go on when one fails; `note` is told of each, `complain` of failures.

    Raises `SomeCasesError` at the end, with the names of those who failed.
    """
    failed: dict[str, str] = {}
    for number, case in enumerate(cases, start=1):
        patient = visible(case.folder.name)
        note(f"{patient} ({number} of {len(cases)})")
        try:
            preprocess(case)
        except Exception as error:
            failed[patient] = trace(error)
            stale = os.path.lexists(case.folder / REPORT)
            message, _ = explain(advising(error, MASK_ADVICE))
            complain(f"{patient} failed: {message}{STALE if stale else ''}")
    if failed:
        raise SomeCasesError(
            f"{len(failed)} of {len(cases)} patients failed: {', '.join(failed)}; the reasons stand above",
            failed,
        )
