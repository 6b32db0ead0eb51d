"""The page of a cohort, cohort.html: what became of its cases and how new lesions are distributed, in one file.

It names cases as the user's folders do, and no folder above them; everything is inline, and it runs no script.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import quote

from lesionwise import __version__
from lesionwise.batch.cases import BatchCase
from lesionwise.batch.tables import DONE, FAILED, KEPT, WAITING, CaseResult
from lesionwise.case_files import REPORT_PAGE, also_written
from lesionwise.report.page import page_environment, settings_facts
from lesionwise.texts import one_line, visible

COHORT_PAGE = "cohort.html"

LESION_COUNT_EDGES = (0, 1, 2, 3, 5, 10, 20)
LESION_VOLUME_EDGES_MM3 = (3, 10, 30, 100, 300, 1000)
"""Where the bars of a distribution begin; the last one has no end."""

CHART_WIDTH, CHART_HEIGHT = 420, 150
_LABEL_ROOM = 22

_FOLDERS = re.compile(r"""(?<![\w/.:~-])/((?:(?!:\s)[^/])*[^/\s'"(]/)*(?=\S)""")
"""The folders of an absolute path; their names may hold blanks, but neither a colon before a blank nor one at the end."""


@dataclass(frozen=True)
class Bar:
    """One bar, in the units of the picture: `x` and `y` of its upper left corner, from the upper left one."""

    x: float
    y: float
    width: float
    height: float
    label: str
    value: str


@dataclass(frozen=True)
class Chart:
    """Bars with their title; `axis` says what stands below them. `labelled`: there is room for words."""

    title: str
    axis: str
    bars: Sequence[Bar]
    labelled: bool


def cohort_page(items: Sequence[BatchCase], results: Mapping[str, CaseResult], target: Path) -> str:
    """Return the page; `results` by the cases' names, links relative to the folder `target` that it stands in."""
    rows: list[dict[str, Any]] = [
        {
            "result": results[item.name],
            "link": _link(item, results[item.name], target),
            "error": without_folders(results[item.name].error, item),
        }
        for item in items
    ]
    finished = [result for result in results.values() if result.finished]
    template = page_environment().get_template("cohort.html")
    return template.render(
        rows=rows,
        states=[(state, count) for state, count in _states(results) if count],
        failures=[row for row in rows if row["result"].state == FAILED],
        numbers=numbers(finished),
        charts=charts(results),
        computation=computation([result.report for result in finished]),
        version=__version__,
        width=CHART_WIDTH,
        height=CHART_HEIGHT + _LABEL_ROOM,
        floor=CHART_HEIGHT,
    )


def numbers(finished: Sequence[CaseResult]) -> list[tuple[str, str]]:
    """Return what can be said of the cohort in single numbers: (what, how much)."""
    if not finished:
        return []
    lesions = [result.report["new_lesions"] for result in finished]
    volumes = [result.report["new_lesion_volume_mm3"] for result in finished]
    return [
        ("cases with new lesions", f"{sum(count > 0 for count in lesions)} of {len(finished)}"),
        ("new lesions", f"{sum(lesions)}"),
        ("new lesions a case, median", f"{median(lesions):g}"),
        ("their volume a case, median", f"{median(volumes):.0f} mm³"),
        ("time a case, median", f"{median(result.seconds for result in finished):.0f} s"),
    ]


def charts(results: Mapping[str, CaseResult]) -> list[Chart]:
    """Return what became of the cases, and the distributions over those that are finished."""
    finished = [result for result in results.values() if result.finished]
    counts = [result.report["new_lesions"] for result in finished]
    lesions = [lesion["volume_mm3"] for result in finished for lesion in result.report["lesions"]]
    volumes = sorted((result.report["new_lesion_volume_mm3"], result.name) for result in finished)
    return [
        bar_chart("Cases by what became of them", "state", _states(results)),
        bar_chart(
            "Cases by number of new lesions", "new lesions", binned(counts, LESION_COUNT_EDGES, whole=True)
        ),
        bar_chart("New lesions by volume", "mm³", binned(lesions, LESION_VOLUME_EDGES_MM3)),
        bar_chart(
            "Volume of new lesions of each case, mm³",
            "cases, from the smallest volume to the largest",
            [(name, round(volume)) for volume, name in volumes],
            labelled=False,
        ),
    ]


def binned(values: Sequence[float], edges: Sequence[float], whole: bool = False) -> list[tuple[str, int]]:
    """Count values by bins that begin at `edges`: (label, count); the last has no end. `whole`: they are integers."""
    bins = []
    for begin, end in pairwise([*edges, float("inf")]):
        last = end - 1 if whole else end
        label = (
            f"{begin:g}+" if end == float("inf") else f"{begin:g}" if last == begin else f"{begin:g}–{last:g}"
        )
        bins.append((label, sum(begin <= value < end for value in values)))
    return bins


def bar_chart(title: str, axis: str, values: Sequence[tuple[str, float]], labelled: bool = True) -> Chart:
    """Return the chart of (label, value): bars of equal width, the highest as high as the picture allows."""
    highest = max((value for _, value in values), default=0) or 1
    slot = CHART_WIDTH / max(1, len(values))
    room = CHART_HEIGHT - 18  # above the highest bar, for its number
    bars = [
        Bar(
            x=round(number * slot + slot * 0.1, 2),
            y=round(CHART_HEIGHT - room * value / highest, 2),
            width=round(slot * 0.8, 2),
            height=round(room * value / highest, 2),
            label=label,
            value=f"{value:g}",
        )
        for number, (label, value) in enumerate(values)
    ]
    return Chart(title, axis, bars, labelled)


def computation(reports: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return what computed the cohort: (what, its value); several values where cases differ."""
    told: dict[str, Counter[str]] = {}
    for report in reports:
        own = {"lesionwise": report["lesionwise"]}
        own |= {f"{what} (sha256)": report[f"{what}_sha256"][:12] for what in ("program", "weights")}
        for name, value in [*own.items(), *settings_facts(report["settings"]), *report["versions"].items()]:
            told.setdefault(name, Counter())[value] += 1
    return [(name, " / ".join(values)) for name, values in told.items()]


def without_folders(error: str, item: BatchCase) -> str:
    """Return the error with its files named as they are called below the case, and others, not by where they lie."""
    files = [*item.case.inputs.values(), *item.case.outputs, item.folder]
    # Workers of a cluster call them by their absolute paths.
    names = {one_line(str(path)): visible(path.name) for file in files for path in (file, file.absolute())}
    for written in sorted(names, key=len, reverse=True):
        error = error.replace(written, names[written])
    return _FOLDERS.sub("", error)


def _link(item: BatchCase, result: CaseResult, target: Path) -> str:
    """Return where the page of the case is, or nothing where it was not written with this result."""
    page = item.folder / REPORT_PAGE
    current = "report" in also_written(result.report) and page.is_file()
    return quote(bytes(page.relative_to(target))) if current else ""  # bytes: a name may be no UTF-8


def _states(results: Mapping[str, CaseResult]) -> list[tuple[str, int]]:
    counted = Counter(result.state for result in results.values())
    return [(state, counted[state]) for state in (DONE, KEPT, FAILED, WAITING)]
