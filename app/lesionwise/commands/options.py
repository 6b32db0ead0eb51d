"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from lesionwise.engine import Settings

FILE = click.Path(path_type=Path)
"""A file; whether it can be used is told by who reads or writes it, with the exit code of that."""

FOLDER = click.Path(path_type=Path)

Command = Callable[..., Any]

quiet_option = click.option("--quiet", "-q", is_flag=True, help="Write nothing but errors.")

# Read by `cli.main`, which handles errors, from the command line itself.
debug_option = click.option("--debug", is_flag=True, expose_value=False, help="Show where an error arose.")


def compute_options(command: Command) -> Command:
    """Add --threads, --device and --precision."""
    # The values that `lesionwise.devices` knows; not imported from there because that imports torch.
    for option in (
        click.option(
            "--precision",
            type=click.Choice(["auto", "fp32", "bf16"]),
            default="auto",
            help="Numbers of the network: auto is bf16 where the hardware is made for it.",
        ),
        click.option(
            "--device",
            type=click.Choice(["auto", "cpu", "cuda"]),
            default="auto",
            help="Where the network runs: auto is a GPU that works, else the CPU.",
        ),
        click.option(
            "--threads",
            type=click.IntRange(0, 1024),
            default=1,
            help="CPU threads; 0: all that the process may use.",
        ),
    ):
        command = option(command)
    return command


def segmentation_options(command: Command) -> Command:
    """Add what says how a case is computed; `settings_from` takes the values."""
    for option in (
        compute_options,
        click.option("--weights", type=FOLDER, help="Folder of weights.  [default: those installed]"),
        click.option(
            "--overlap",
            type=click.FloatRange(0, 0.9),
            default=0.5,
            help="Overlap of neighbouring windows; less is faster and coarser.",
        ),
        click.option(
            "--threshold",
            type=click.FloatRange(0, 1, min_open=True, max_open=True),
            help="Probability above which a voxel is lesion.  [default: the weights']",
        ),
        click.option("--no-denoise", is_flag=True, help="Skip non-local means denoising."),
        click.option("--no-bias-correction", is_flag=True, help="Skip N4 bias field correction."),
    ):
        command = option(command)
    return command


def settings_from(*, no_bias_correction: bool, no_denoise: bool, **options: Any) -> "Settings":
    """Return the settings that the options of `segmentation_options` ask for."""
    from lesionwise.engine import Settings
    from lesionwise.preprocessing.recipe import Recipe

    recipe = Recipe(bias_correction=not no_bias_correction, denoising=not no_denoise)
    return Settings(recipe=recipe, **options)
