"""`lesionwise segment`: the lesions that are new at time 2."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from lesionwise.commands.options import (
    FILE,
    FOLDER,
    debug_option,
    quiet_option,
    refuse_needless_extraction,
    segmentation_options,
    settings_from,
)
from lesionwise.commands.screen import say


@click.command("segment", context_settings={"show_default": True})
@click.option("-t1", "--time1", type=FILE, required=True, help="FLAIR of the first time point.")
@click.option("-t2", "--time2", type=FILE, required=True, help="FLAIR of the second.")
@click.option("-o", "--output", type=FILE, required=True, help="Mask to write: 1 in new lesions, else 0.")
@click.option("--probabilities", type=FILE, help="Also write the probability of new lesion.")
@click.option("--json", "table", type=FILE, help="Also write the table of new lesions and what was done.")
@click.option(
    "--report", "page", type=FOLDER, help="Also make this folder with a page to look at: report.html."
)
@click.option("--brain-mask", type=FILE, help="Use this brain mask instead of finding the brain.")
@segmentation_options
@quiet_option
@debug_option
def command(
    time1: Path,
    time2: Path,
    output: Path,
    probabilities: Path | None,
    table: Path | None,
    page: Path | None,
    brain_mask: Path | None,
    quiet: bool,
    **options: Any,
) -> None:
    """Write the mask of the lesions that are new at time 2.

    Both scans are whole-head 3D FLAIRs of one patient (.nii or .nii.gz), on one grid or with --register.
    The mask has the grid and the header geometry of time 1; with --register those of time 2, or of --output-grid.
    """
    from lesionwise.case_files import Case
    from lesionwise.pipeline import segment_case
    from lesionwise.progress import show_progress

    refuse_needless_extraction(brain_mask)
    case = Case(time1, time2, output, probabilities, table, brain_mask, page)
    settings = settings_from(**options)
    with show_progress(quiet) as progress:
        report = segment_case(case, settings, progress)
    if not quiet:
        say(lesion_lines(report["lesions"]))
        if case.page:
            say(f"report: {case.page}")


def lesion_lines(lesions: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of lesions as lines of text, the largest lesion first."""
    if not lesions:
        return "no new lesions"
    lines = [
        "lesion  volume_mm3  diameter_mm  probability  confidence  centre_mm (right, anterior, superior)"
    ]
    for lesion in lesions:
        x, y, z = lesion["centre_mm"]
        confidence = "-" if lesion.get("confidence") is None else f"{lesion['confidence']:.2f}"
        lines.append(
            f"{lesion['id']:6d}  {lesion['volume_mm3']:10.1f}  {lesion['longest_diameter_mm']:11.1f}"
            f"  {lesion['max_probability']:11.2f}  {confidence:>10}  {x:.1f}, {y:.1f}, {z:.1f}"
        )
    return "\n".join(lines)
