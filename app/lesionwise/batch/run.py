"""A batch: the network loaded once, case after case, one's failure not the other's, and tables current throughout."""

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lesionwise.batch.layouts import BatchCase
from lesionwise.batch.resume import finished_report
from lesionwise.batch.tables import DONE, FAILED, KEPT, CaseResult, write_tables
from lesionwise.case_description import describe_computation
from lesionwise.engine import Engine, Settings
from lesionwise.errors import InputError, explain
from lesionwise.pipeline import finish_case, prepare_case, read_case
from lesionwise.progress import Progress


def run_batch(
    cases: Sequence[BatchCase], target: Path, settings: Settings, progress: Progress, force: bool = False
) -> list[CaseResult]:
    """Compute the cases that are not finished and current (with `force`, all) and return what became of each.

    The tables in `target` are written anew after each case, so that they are true also after an interruption,
    which goes through. Raises `WeightsError`, `DeviceError` or `InputError` for what concerns all cases.
    """
    make_folder(target)
    with progress.step("loading the network"):
        engine = Engine.start(settings, progress)
    results = {item.name: CaseResult(item.name) for item in cases}
    if not force:
        with progress.step("looking for finished cases"):
            computation = describe_computation(settings, engine)
            for item in cases:
                report = finished_report(item.case, computation)
                if report is not None:
                    results[item.name] = CaseResult(item.name, KEPT, report)
    waiting = [item for item in cases if not results[item.name].finished]
    write_tables(target, results.values())

    begin = time.perf_counter()
    for number, item in enumerate(waiting):
        progress.display.overall(
            number,
            len(waiting),
            f"{item.name} ({number + 1} of {len(waiting)}){_left(begin, number, len(waiting))}",
        )
        results[item.name] = result = _run_one(item, settings, engine, progress)
        write_tables(target, results.values())
        left = _left(begin, number + 1, len(waiting))
        progress.note(f"{number + 1} of {len(waiting)}: {result.name}: {_in_words(result)}{left}")
    return list(results.values())


def _run_one(item: BatchCase, settings: Settings, engine: Engine, progress: Progress) -> CaseResult:
    """Compute a case; whatever goes wrong in it is its result."""
    own = Progress(progress.display.without_lines())
    try:
        report = _segment(item, settings, engine, own)
    except Exception as error:
        message, _ = explain(error)
        _remove_if_empty(item)
        if item.case.output.exists():
            message += " (its outputs are still those of an earlier start)"
        return CaseResult(item.name, FAILED, error=message)
    return CaseResult(item.name, DONE, report)


def _segment(item: BatchCase, settings: Settings, engine: Engine, progress: Progress) -> dict[str, Any]:
    if item.problem:
        raise InputError(item.problem)
    for path in item.case.outputs:
        make_folder(path.parent)
    scans = read_case(item.case, settings, progress)
    prepared = prepare_case(scans, settings, engine.threads, progress, engine.device)
    return finish_case(item.case, prepared, settings, engine, progress)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it. Raises `InputError` where that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}); choose another place") from error


def _remove_if_empty(item: BatchCase) -> None:
    """Remove the folders that were made for a case that wrote nothing."""
    with suppress(OSError):
        for folder in (item.case.output.parent, item.folder):
            folder.rmdir()


def _in_words(result: CaseResult) -> str:
    if not result.finished:
        return f"failed: {result.error}"
    lesions, volume = result.report["new_lesions"], result.report["new_lesion_volume_mm3"]
    warnings = f", {count} warning(s)" if (count := len(result.report["warnings"])) else ""
    return f"{lesions} new lesions, {volume:g} mm3, {result.seconds:.0f} s{warnings}"


def _left(begin: float, done: int, total: int) -> str:
    """Return the time left in words, from the mean of the cases that are done."""
    if not 0 < done < total:
        return ""
    seconds = (time.perf_counter() - begin) / done * (total - done)
    return f"; about {seconds / 60:.0f} min left" if seconds >= 90 else f"; about {seconds:.0f} s left"
