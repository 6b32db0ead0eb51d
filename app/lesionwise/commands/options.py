"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

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
