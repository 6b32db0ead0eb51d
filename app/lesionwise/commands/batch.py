"""`lesionwise batch`: all cases of a folder."""

from pathlib import Path
from typing import Any

import click

from lesionwise.commands.options import (
    FOLDER,
    FilledText,
    debug_option,
    quiet_option,
    refuse_needless_extraction,
    segmentation_options,
    settings_from,
)
from lesionwise.commands.screen import complain, say
from lesionwise.errors import SomeCasesError, UsageError
from lesionwise.texts import visible


@click.command("batch", context_settings={"show_default": True})
@click.argument("source", metavar="IN", type=FOLDER)
@click.argument("target", metavar="OUT", type=FOLDER)
@click.option(
    "--layout",
    type=click.Choice(["auto", "challenge", "bids", "flat"]),
    default="auto",
    help="How IN is laid out; auto is the first of these that finds a case.",
)
@click.option("--probabilities", is_flag=True, help="Also write the probability of new lesion of each case.")
@click.option("--report", is_flag=True, help="Also make a page of each case to look at: report.html.")
@click.option(
    "--brain-mask-name",
    type=FilledText(),
    metavar="NAME",
    help="Use the brain mask of this name in each patient's folder (challenge layout).",
)
@click.option(
    "--force",
    is_flag=True,
    help="Compute all cases, also finished ones; files that no batch wrote, such as corrected masks, are replaced.",
)
@click.option(
    "--prefetch/--no-prefetch",
    default=None,
    help="Prepare the next case while the network is in one; takes memory for two.  "
    "[default: with two threads or more, where 8 GB of memory are free]",
)
@click.option(
    "--scheduler",
    type=FilledText(),
    metavar="ADDRESS",
    help="Compute on the Dask cluster whose scheduler is there: tcp://HOST:8786 (needs lesionwise[cluster]).",
)
@segmentation_options
@quiet_option
@debug_option
def command(
    source: Path,
    target: Path,
    layout: str,
    probabilities: bool,
    report: bool,
    brain_mask_name: str | None,
    force: bool,
    prefetch: bool | None,
    scheduler: str | None,
    quiet: bool,
    **options: Any,
) -> None:
    """Segment all cases in the folder IN; results go to the folder OUT.

    \b
    IN holds one of
      challenge  PATIENT/flair_time01_on_middle_space.nii.gz and ..._time02_...
      bids       sub-*/ses-*/anat/*_FLAIR.nii.gz or .nii; sessions are paired one after the other
      flat       files named alike but for _time01 and _time02, .nii.gz or .nii

    OUT gets a folder for each case, cohort.csv (a row a case), lesions.csv (a row a lesion) and cohort.html. A case
    that fails is named at the end, and the others go on. Started again, only what is missing or not current is computed:
    the same inputs, weights and options are not computed twice.
    """
    if prefetch and scheduler:
        raise UsageError(
            "--prefetch is for one machine; with --scheduler several workers overlap by themselves"
        )
    refuse_needless_extraction(brain_mask_name)
    from lesionwise.batch.bids import check_description, unpaired_subjects, write_description
    from lesionwise.batch.cases import Extras
    from lesionwise.batch.cluster import cluster
    from lesionwise.batch.computer import this_machine
    from lesionwise.batch.layouts import closed_folders, find_cases
    from lesionwise.batch.lock import alone_in
    from lesionwise.batch.run import check_replaceable, run_batch
    from lesionwise.files import output_folder
    from lesionwise.progress import show_progress

    settings = settings_from(**options)
    layout, cases = find_cases(source, target, layout, Extras(probabilities, brain_mask_name, report))
    check_replaceable(target)
    if layout == "bids":
        check_description(target)
    with output_folder(target), alone_in(target), show_progress(quiet) as progress:
        progress.note(f"{len(cases)} cases")
        if layout == "challenge" and (closed := closed_folders(source)):
            progress.note(f"passed over, no permission to look into: {visible(', '.join(closed))}")
        if layout == "bids" and (unpaired := unpaired_subjects(source)):
            progress.note(f"no pair, a FLAIR in fewer than two sessions: {visible(', '.join(unpaired))}")
        opened = (
            cluster(scheduler, settings, progress, force)
            if scheduler
            else this_machine(settings, progress, prefetch, force)
        )
        with opened as computer:
            if layout == "bids":
                write_description(target)
            results = run_batch(cases, target, computer, progress, force)
    failed = [result for result in results if not result.finished]
    for result in failed:
        complain(f"lesionwise: {visible(result.name)}: {result.error}")
    if not quiet:
        done = sum(result.state == "done" for result in results)
        kept = len(results) - done - len(failed)
        say(f"{done} cases done, {kept} kept from before, {len(failed)} failed; tables in {target}")
    if failed:
        names = visible(", ".join(result.name for result in failed))
        raise SomeCasesError(
            f"{len(failed)} of {len(results)} cases failed: {names}",
            {result.name: result.trace for result in failed},
        )
