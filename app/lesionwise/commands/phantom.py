"""`lesionwise phantom`: synthetic cases with the truth, for trying the program out."""

from pathlib import Path

import click

from lesionwise.commands.options import FOLDER, NumberRange, debug_option, quiet_option


@click.command("phantom", context_settings={"show_default": True})
@click.argument("folder", metavar="OUT", type=FOLDER)
@click.option("--cases", type=click.IntRange(1, 999), default=1, help="How many cases.")
@click.option("--seed", type=click.IntRange(0), default=1, help="Which series: same seed, same cases.")
@click.option(
    "--unchanged-share",
    type=NumberRange(0, 1),
    default=0.0,
    help="Share of the cases that have no new lesion.",
)
@click.option("--force", is_flag=True, help="Replace phantoms that are there already.")
@quiet_option
@debug_option
def command(folder: Path, cases: int, seed: int, unchanged_share: float, force: bool, quiet: bool) -> None:
    """Write synthetic cases with the truth into the folder OUT.

    Each case is a folder as the MSSEG-2 challenge lays it out: OUT/patient001/ holds
    flair_time01_on_middle_space.nii.gz, flair_time02_on_middle_space.nii.gz and ground_truth.nii.gz (1 in new
    lesions), and phantom.json, which says what was drawn. The heads are made up from the ICBM152 template:
    no scan of a patient is in them.
    """
    from lesionwise.progress import show_progress
    from lesionwise.simulation.phantom import make_phantom
    from lesionwise.simulation.phantom_files import case_folders, checked_folder, write_case

    folders = case_folders(folder, cases, force)
    with show_progress(quiet) as progress:
        for number, case in enumerate(folders, start=1):
            with progress.step(f"making {case}"), checked_folder(case):
                write_case(case, make_phantom(seed, number, unchanged_share))
