"""The page of a case: how its time grows with the lesions, and what it adds to reading the case."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.bench_evaluation import add_ball
from benchmarks.programs import BRAIN_MASK, head, write_block
from benchmarks.table import Row, cpu_seconds_in_turn
from lesionwise.case_description import describe_case
from lesionwise.challenge_layout import TIME1, TIME2
from lesionwise.engine import Engine, Settings
from lesionwise.lesions import lesion_table
from lesionwise.progress import Progress
from lesionwise.report.case_images import case_images
from lesionwise.report.page import case_page
from lesionwise.scan_pair import prepare_study, read_pair

FEW, MANY = 10, 40
RADIUS_VOXELS = 3


def rows() -> Iterator[Row]:
    """Draw the page of the same head with few and with many lesions."""
    with tempfile.TemporaryDirectory() as name:
        case = Path(name) / "case"
        write_block(case, head().time1.shape)
        pages = [page_of(case, lesions) for lesions in (FEW, MANY)]
        few, many = cpu_seconds_in_turn(*pages, repeats=2)
    yield Row(
        f"report: {MANY} lesions instead of {FEW}, CPU seconds", many / few, bar=MANY / FEW, growth=True
    )
    yield Row(f"CPU seconds of the report of {MANY} lesions", many, growth=True)


def page_of(case: Path, lesions: int) -> Callable[[], str]:
    """Return what draws the page of a case with so many lesions at random places."""
    progress, settings = Progress(), Settings(device="cpu")
    pair = read_pair(case / TIME1, case / TIME2, case / BRAIN_MASK)
    study = prepare_study(pair, None, settings.brain_extraction, 1, progress)
    mask, random = np.zeros(pair.time1.data.shape, bool), np.random.default_rng(0)
    for _ in range(lesions):
        corner = RADIUS_VOXELS + 1
        add_ball(mask, random.integers(corner, np.array(mask.shape) - corner), RADIUS_VOXELS)
    probability = mask.astype(np.float32)
    table = lesion_table(mask, probability, study.output.affine, study.output.spacing_mm)
    engine = Engine.start(settings, progress)
    report = describe_case(table, None, pair, study, None, {}, settings, settings.windows, engine, progress)
    return lambda: case_page(report, case_images(study, pair, mask, probability))
