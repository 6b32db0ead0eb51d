"""Options that several commands share."""

import math
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from lesionwise.allowed import (
    BRAIN_EXTRACTIONS,
    CERTAINTY,
    DEVICES,
    OUTPUT_GRIDS,
    OVERLAP,
    PRECISIONS,
    THREADS,
    THRESHOLD,
    WINDOW_MM,
    WINDOW_MULTIPLE,
    Bounds,
)
from lesionwise.errors import UsageError

if TYPE_CHECKING:
    from lesionwise.engine import Settings

FILE = click.Path(path_type=Path, readable=False)
"""A file; whether it can be used is told by who reads or writes it, with the exit code of that."""

FOLDER = click.Path(path_type=Path, readable=False)


class NumberRange(click.FloatRange):
    """A number within bounds; click's own range lets "nan" pass, which is on neither side of any bound."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number, or fail as click does for one out of bounds."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is no number.", param, ctx)
        return number


def number_in(bounds: Bounds) -> NumberRange:
    """Return the type of an option that takes a number within bounds."""
    return NumberRange(bounds.low, bounds.high, min_open=bounds.above, max_open=bounds.below)


def whole_number_in(bounds: Bounds) -> click.IntRange:
    """Return the type of an option that takes a whole number within bounds."""
    return click.IntRange(int(bounds.low), int(bounds.high))


class FilledText(click.types.StringParamType):
    """A text that says something; an empty one (of a shell variable that was not set) would count as an option left out."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text, or fail as click does for what is no value."""
        text: str = super().convert(value, param, ctx)
        if not text.strip():
            self.fail("it is empty; give a value, or leave the option out", param, ctx)
        return text


Command = Callable[..., Any]

quiet_option = click.option("--quiet", "-q", is_flag=True, help="Write nothing but errors.")

# Read by `cli.main`, which handles errors, from the command line itself.
debug_option = click.option("--debug", is_flag=True, expose_value=False, help="Show where an error arose.")

threads_option = click.option(
    "--threads",
    type=whole_number_in(THREADS),
    default=1,
    help="CPU threads; 0: all that the process may use.",
)


device_option = click.option(
    "--device",
    type=click.Choice(DEVICES),
    default="auto",
    help="Where the network and denoising run: auto is a GPU that works, else the CPU.",
)


weights_option = click.option(
    "--weights",
    type=FOLDER,
    help="Folder of weights.  [default: that of LESIONWISE_WEIGHTS, or those installed]",
)


def compute_options(command: Command) -> Command:
    """Add --threads, --device and --precision."""
    for option in (
        click.option(
            "--precision",
            type=click.Choice(PRECISIONS),
            default="auto",
            help="Numbers of the network: auto is bf16 where the hardware is made for it.",
        ),
        device_option,
        threads_option,
    ):
        command = option(command)
    return command


def recipe_options(command: Command) -> Command:
    """Add --recipe and a switch for each step; the command gets them as one `recipe`."""

    @wraps(command)
    def with_recipe(
        *arguments: Any,
        recipe: str,
        bias_correction: bool | None,
        denoise: bool | None,
        match_histogram: bool | None,
        **options: Any,
    ) -> Any:
        from dataclasses import replace

        from lesionwise.preprocessing.recipe import RECIPES

        asked = {
            "bias_correction": bias_correction,
            "denoising": denoise,
            "histogram_matching": match_histogram,
        }
        changed = replace(RECIPES[recipe], **{step: on for step, on in asked.items() if on is not None})
        return command(*arguments, recipe=changed, **options)

    # Names and steps as in `lesionwise.preprocessing.recipe`, which is not imported because it imports SimpleITK.
    options = (
        click.option(
            "--recipe",
            type=click.Choice(["paper", "challenge"]),
            default="paper",
            help="paper: N4 and denoising; challenge: the organisers' script, which does not denoise.",
        ),
        _switch("--bias-correction", "N4 bias field correction"),
        _switch("--denoise", "non-local means denoising"),
        _switch("--match-histogram", "bringing the intensities of time 2 to those of time 1"),
    )
    decorated: Command = with_recipe
    for option in reversed(options):
        decorated = option(decorated)
    return decorated


register_option = click.option(
    "--register",
    is_flag=True,
    help="Bring the two scans together first: rigidly, each half of the way; for scans on two grids.",
)

brain_extraction_option = click.option(
    "--brain-extraction",
    type=click.Choice(BRAIN_EXTRACTIONS),
    default="auto",
    help="How the brain is found: auto is the learned way, and the atlas where that fails.",
)


def was_given(name: str) -> bool:
    """Tell whether an option of the command that runs (`name`: of its parameter) was given: typed, or by a recipe."""
    return click.get_current_context().get_parameter_source(name) is not ParameterSource.DEFAULT


def refuse_needless_extraction(brain_mask: Path | str | None) -> None:
    """Raise `UsageError` where both a brain mask and a way to find the brain were asked for: one would do nothing."""
    if brain_mask and was_given("brain_extraction"):
        raise UsageError(
            "--brain-extraction would do nothing where a brain mask is given (--brain-mask, or of a batch"
            " --brain-mask-name); leave one of them out"
        )


def _switch(name: str, step: str) -> Callable[[Command], Command]:
    return click.option(
        f"{name}/--no-{name[2:]}", default=None, help=f"Run or leave out {step}.  [default: the recipe's]"
    )


def segmentation_options(command: Command) -> Command:
    """Add what says how a case is computed; `settings_from` takes the values."""
    for option in (
        compute_options,
        weights_option,
        click.option(
            "--overlap",
            type=number_in(OVERLAP),
            default=0.5,
            help="Overlap of neighbouring windows, where there are several.",
        ),
        click.option(
            "--window",
            type=whole_number_in(WINDOW_MM),
            help=f"Edge of the network's windows, in mm, a multiple of {WINDOW_MULTIPLE}.  [default: the whole brain]",
        ),
        click.option(
            "--tta", is_flag=True, help="Also look at the mirrored heads and take the mean: twice the time."
        ),
        click.option(
            "--certainty",
            type=number_in(CERTAINTY),
            help="Probability that a lesion must exceed in its voxels' mean log odds; 0: none.  [default: the weights']",
        ),
        click.option(
            "--threshold",
            type=number_in(THRESHOLD),
            help="Probability above which a voxel is lesion; for more lesions lower --certainty.  [default: the weights']",
        ),
        recipe_options,
        click.option(
            "--output-grid",
            type=click.Choice(OUTPUT_GRIDS),
            help="With --register: the grid of the outputs.  [default: time2]",
        ),
        register_option,
        brain_extraction_option,
    ):
        command = option(command)
    return command


def settings_from(
    *, register: bool, output_grid: str | None, window: int | None, overlap: float, **options: Any
) -> "Settings":
    """Return the settings that the options of `segmentation_options` ask for.

    Raises:
        UsageError: an output grid is named, but the scans are not to be registered; a window that the network cannot halve.
    """
    if output_grid and not register:
        raise UsageError("--output-grid is for --register; without it both scans are on one grid")
    from lesionwise.engine import Settings
    from lesionwise.inference import Windows
    from lesionwise.scan_pair import DEFAULT_OUTPUT_GRID

    return Settings(
        register=register,
        output_grid=output_grid or DEFAULT_OUTPUT_GRID,
        windows=Windows(window, overlap),
        **options,
    )
