"""The page of a cohort: numbers are right, it is one file that needs nothing, and it tells nothing private."""

import re
from pathlib import Path

import pytest

from lesionwise.batch.cases import BatchCase
from lesionwise.batch.tables import CaseResult
from lesionwise.case_files import Case
from lesionwise.report.cohort import (
    bar_chart,
    binned,
    charts,
    cohort_page,
    computation,
    numbers,
    without_folders,
)

SECRET = "hospital-of-somewhere"


def report(*volumes_mm3, **more):
    return {
        "lesionwise": "0.1.0",
        "new_lesions": len(volumes_mm3),
        "new_lesion_volume_mm3": sum(volumes_mm3),
        "brain_volume_ml": 1400.0,
        "lesions": [{"volume_mm3": volume} for volume in volumes_mm3],
        "warnings": [],
        "settings": {"threshold": 0.5, "preprocessing": ["masking", "denoising"]},
        "program_sha256": "fedcba9876543210",
        "weights_sha256": "0123456789abcdef",
        "versions": {"python": "3.11.7"},
        "seconds": {"reading": 1.0, "running the network": 9.0},
    } | more


def item(name, target):
    source = Path(f"/data/{SECRET}/in") / name
    case = Case(source / "t1.nii.gz", source / "t2.nii.gz", target / name / "segmentation.nii.gz")
    return BatchCase(name, case, target / name)


@pytest.fixture
def page(tmp_path):
    """Return a function that gives the page of results."""

    def made(*results):
        items = [item(result.name, tmp_path) for result in results]
        return cohort_page(items, {result.name: result for result in results}, tmp_path)

    return made


def test_values_are_counted_by_bins_and_every_value_once():
    assert binned([0, 0, 1, 4, 99], (0, 1, 2, 5), whole=True) == [("0", 2), ("1", 1), ("2–4", 1), ("5+", 1)]
    assert binned([3.5, 9.99, 10, 5000], (0, 10, 100)) == [("0–10", 2), ("10–100", 1), ("100+", 1)]


def test_the_highest_bar_fills_the_picture_and_the_others_are_in_proportion():
    chart = bar_chart("title", "axis", [("a", 2.0), ("b", 4.0), ("c", 0.0)])
    low, high, none = chart.bars
    assert low.height == high.height / 2
    assert none.height == 0
    assert low.y + low.height == high.y + high.height == none.y  # they stand on one floor
    assert high.x - low.x == none.x - high.x > low.width
    assert bar_chart("title", "axis", [("a", 0.0)]).bars[0].height == 0


def test_numbers_of_the_cohort():
    finished = [CaseResult("a", "done", report(4.0, 50.0)), CaseResult("b", "kept", report())]
    assert numbers(finished) == [
        ("cases with new lesions", "1 of 2"),
        ("new lesions", "2"),
        ("new lesions a case, median", "1"),
        ("their volume a case, median", "27 mm³"),
        ("time a case, median", "10 s"),
    ]
    states, counts, volumes, cases = (
        [(bar.label, bar.value) for bar in chart.bars]
        for chart in charts({result.name: result for result in finished})
    )
    assert ("0", "1") in counts
    assert ("2", "1") in counts
    assert dict(volumes)["3–10"] == dict(volumes)["30–100"] == "1"
    assert cases == [("b", "0"), ("a", "54")]
    assert states == [("done", "1"), ("kept", "1"), ("failed", "0"), ("not run", "0")]


def test_what_computed_it_is_told_once_and_where_cases_differ_all_of_it():
    settings = {
        "lesion_confidence": {"intercept": -5.260387141878215, "per_logit": 2.0},
        "temperature": 1.411,
        "preprocessing": ["masking", "denoising"],
    }
    told = dict(
        computation([report(settings=settings), report(settings=settings, versions={"python": "3.11.9"})])
    )
    assert told["lesionwise"] == "0.1.0"
    assert told["python"] == "3.11.7 / 3.11.9"
    assert told["preprocessing"] == "masking, denoising"
    assert told["temperature"] == "1.411"
    assert "lesion confidence" not in told  # a formula, which tells a reader nothing


def test_the_page_is_one_file_without_scripts_that_says_what_became_of_each_case(page, tmp_path):
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b/report.html").touch()
    html = page(
        CaseResult("a b", "done", report(20.0, warnings=["look here"], also_written=["report"])),
        CaseResult("c", "failed", error="damaged"),
        CaseResult("d"),
    )
    assert not re.search(r"<script|https?:|src=|@import|url\(", html)
    assert 'href="a%20b/report.html"' in html  # and no link where a case has no page
    assert html.count("<a href") == 1
    assert "<a href" not in page(CaseResult("a b", "done", report(20.0)))  # nor to one of an earlier start
    assert "look here" in html
    assert '1 done, <span class="alarm">1 failed</span>, <span>1 not run' in re.sub(
        r"<span>1 done</span>", "1 done", html
    )
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html
    assert html.count('role="img"') == html.count("<svg") == 4


def test_names_are_text_and_never_markup(page):
    html = page(CaseResult("<script>alert(1)</script>", "failed", error="<b>&"))
    assert "<script" not in html
    assert "&lt;b&gt;&amp;" in html


def test_no_folder_above_the_cases_is_told(page, tmp_path):
    case = item("a", tmp_path)
    assert without_folders(f"{case.case.time2}: damaged", case) == "t2.nii.gz: damaged"
    html = page(
        CaseResult("a", "failed", error=f"{case.case.time1}: damaged"), CaseResult("b", "done", report(9.0))
    )
    assert SECRET not in html
    assert str(tmp_path) not in html


def test_nor_where_a_clusters_worker_names_the_files_of_relative_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = Path("in/a/t1.nii.gz"), Path("in/a/t2.nii.gz"), Path("out/a/segmentation.nii.gz")
    case = BatchCase("a", Case(*files), Path("out/a"))
    error = f"{files[0].absolute()} and {files[1].absolute()}: two grids; see {case.folder.absolute()}"
    assert without_folders(error, case) == "t1.nii.gz and t2.nii.gz: two grids; see a"
    assert without_folders(f"{files[2]}: full", case) == "segmentation.nii.gz: full"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (f"/data/{SECRET}/in/a: Input/output error; check the disk", "a: Input/output error; check the disk"),
        (f"/data/{SECRET}/my weights/w.json: cannot be read", "w.json: cannot be read"),
        (f"('/data/{SECRET}/a.nii', \"/data/{SECRET}/b.nii\")", "('a.nii', \"b.nii\")"),
        (f"/data/{SECRET}/a.nii and /data/{SECRET}/b.nii: two grids", "a.nii and b.nii: two grids"),
        ("sub-1/ses-2/anat: a T1 and/or a T2 / none", "sub-1/ses-2/anat: a T1 and/or a T2 / none"),
        ("tcp://host:8786 is gone", "tcp://host:8786 is gone"),
    ],
)
def test_nor_by_the_name_of_what_is_no_file_of_the_case(error, told, tmp_path):
    assert without_folders(error, item("a", tmp_path)) == told


def test_a_cohort_of_which_nothing_is_finished_yet_has_a_page(page):
    html = page(CaseResult("a"))
    assert "1 not run" in html
