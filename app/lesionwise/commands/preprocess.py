"""`lesionwise preprocess`: the brain mask and the preprocessed images of one pair or of a folder of patients."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lesionwise.commands.options import (
    FILE,
    FOLDER,
    brain_extraction_option,
    debug_option,
    device_option,
    quiet_option,
    recipe_options,
    refuse_needless_extraction,
    register_option,
    threads_option,
    was_given,
)
from lesionwise.commands.screen import complain
from lesionwise.errors import UsageError

if TYPE_CHECKING:
    from lesionwise.preprocessing.recipe import Recipe


@click.command("preprocess", context_settings={"show_default": True})
@click.argument("patients", type=FOLDER, required=False, metavar="[DIR_OF_PATIENTS]")
@click.option("-t1", "--time1", type=FILE, help="FLAIR of the first time point.")
@click.option("-t2", "--time2", type=FILE, help="FLAIR of the second.")
@click.option("-o", "--output", type=FOLDER, required=True, help="Folder to write into.")
@click.option("--brain-mask", type=FILE, help="Use this brain mask instead of finding the brain.")
@brain_extraction_option
@register_option
@recipe_options
@click.option(
    "--template", type=FILE, help="Bring the intensities of both to those of this image (the script's -t)."
)
@threads_option
@device_option
@quiet_option
@debug_option
def command(
    patients: Path | None,
    time1: Path | None,
    time2: Path | None,
    output: Path,
    brain_mask: Path | None,
    brain_extraction: str,
    register: bool,
    recipe: "Recipe",
    template: Path | None,
    threads: int,
    device: str,
    quiet: bool,
) -> None:
    """Write what a network would be given: brain mask and preprocessed images.

    \b
    preprocess -t1 FLAIR1 -t2 FLAIR2 -o DIR   one pair
    preprocess DIR_OF_PATIENTS -o OUT         each DIR_OF_PATIENTS/PATIENT in the challenge's layout
                                              to OUT/PATIENT; goes on after one that fails

    Into each folder go flair_time01_on_middle_space.nii.gz, flair_time02_on_middle_space.nii.gz
    (float32, the input's geometry), brain_mask.nii.gz, preprocessing.json (what was done), and, of patients,
    copies of the ground truths. With --register the images lie in the half-way space. Unlike segment it leaves in what
    only one scan reached, joins no voxels of fine scans, and does not check whether the scans look as they should.
    """
    from dataclasses import replace

    from lesionwise.devices import choose_device, use_threads
    from lesionwise.preprocess_case import Options, PreprocessCase, check_replaceable, preprocess_case
    from lesionwise.preprocess_folder import find_patients, preprocess_patients
    from lesionwise.progress import show_progress
    from lesionwise.volume import read_template

    if template:
        if was_given("match_histogram") and not recipe.histogram_matching:
            raise UsageError(
                "--template is for matching histograms, and --no-match-histogram leaves that out"
            )
        recipe = replace(recipe, histogram_matching=True)
    refuse_needless_extraction(brain_mask)

    note = (lambda _line: None) if quiet else complain
    threads = use_threads(threads)
    options = Options(recipe, register, brain_extraction, threads, choose_device(device, note))
    if time1 and time2 and not patients:
        case = PreprocessCase(time1, time2, output, brain_mask=brain_mask, template=template)
        check_replaceable([case])
        with show_progress(quiet) as progress:
            preprocess_case(case, options, progress)
    elif patients and not (time1 or time2 or brain_mask):
        cases = find_patients(patients, output, template, copy_truths=not register)
        check_replaceable(cases)
        if template:
            read_template(template)  # or every patient would fail by it, one after the other

        def preprocess(case: PreprocessCase) -> None:
            with show_progress(quiet) as progress:
                preprocess_case(case, options, progress)

        preprocess_patients(cases, preprocess, note, complain)
    else:
        raise UsageError(
            "give two scans (-t1 FLAIR1 -t2 FLAIR2, perhaps --brain-mask) or a folder of patients, and -o"
        )
