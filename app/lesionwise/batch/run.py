"""A batch: cases that are not finished are computed, one's failure is not the other's, and tables are current throughout."""

import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from itertools import takewhile
from pathlib import Path

from lesionwise.batch.cases import BatchCase
from lesionwise.batch.computer import Computer
from lesionwise.batch.resume import finished_report
from lesionwise.batch.tables import (
    COHORT_TABLE,
    FAILED,
    KEPT,
    LESION_TABLE,
    WAITING,
    CaseResult,
    cohort_table,
    is_cohort_table,
    lesions_table,
)
from lesionwise.errors import InputError, UsageError, explain, trace
from lesionwise.files import check_outputs, text_writer, write_whole
from lesionwise.progress import Progress
from lesionwise.report.cohort import COHORT_PAGE, cohort_page
from lesionwise.texts import visible

COHORT_FILES = COHORT_TABLE, LESION_TABLE, COHORT_PAGE


def run_batch(
    cases: Sequence[BatchCase], target: Path, computer: Computer, progress: Progress, force: bool = False
) -> list[CaseResult]:
    """Compute the cases that are not finished and current (with `force`, all) and return what became of each.

    Without `force`, a case that has outputs which no earlier start wrote fails, so that nobody's work is replaced.
    The tables and the page in the folder `target` are written anew after each case, so that they are true also after an
    interruption, which goes through. Raises `InputError` where they cannot be written.
    """
    check_outputs([target / name for name in COHORT_FILES], [])
    results = {item.name: CaseResult(item.name) for item in cases}
    if not force:
        with progress.step("looking for finished cases"):
            for item in cases:
                try:
                    report = finished_report(item.case, computer.computation)
                except InputError as error:
                    results[item.name] = CaseResult(
                        item.name, FAILED, error=explain(error)[0], trace=trace(error)
                    )
                else:
                    if report is not None:
                        results[item.name] = CaseResult(item.name, KEPT, report)
    waiting = [item for item in cases if results[item.name].state == WAITING]
    write_cohort(cases, results, target)

    begin, total = time.perf_counter(), len(waiting)
    progress.display.overall(0, total, f"0 of {total} cases")
    try:
        with closing(computer.compute(waiting)) as computed:
            for done, result in enumerate(computed, 1):
                results[result.name] = result
                write_cohort(cases, results, target)
                left = _left(begin, done, total)
                progress.note(f"{done} of {total}: {visible(result.name)}: {_in_words(result)}{left}")
                progress.display.overall(done, total, f"{done} of {total} cases{left}")
    finally:
        _remove_empty_folders(cases, target)
    return list(results.values())


def check_replaceable(target: Path) -> None:
    """Raise `UsageError` where a table or the page in `target` is not of an earlier batch."""
    there = [path for name in COHORT_FILES if (path := target / name).exists()]
    if there and not is_cohort_table(target / COHORT_TABLE):
        raise UsageError(
            f"{there[0]}: no earlier batch wrote this file; move it away, or name another folder for the results"
        )


def write_cohort(cases: Sequence[BatchCase], results: Mapping[str, CaseResult], target: Path) -> None:
    """Write cohort.csv, lesions.csv and cohort.html, whole. Raises `InputError` where they cannot be written."""
    texts = {
        COHORT_TABLE: cohort_table(results.values()),
        LESION_TABLE: lesions_table(results.values()),
        COHORT_PAGE: cohort_page(cases, results, target),
    }
    write_whole({target / name: text_writer(text) for name, text in texts.items()})


def _remove_empty_folders(cases: Sequence[BatchCase], target: Path) -> None:
    """Remove the folders above the cases' own that hold nothing: those of a subject none of whose sessions gave a result.

    Only when all cases have ended, so that none is removed under a case that begins.
    """
    for item in cases:
        for folder in takewhile(lambda above: above != target, item.folder.parents):
            with suppress(OSError):  # it holds something, or was never made
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
