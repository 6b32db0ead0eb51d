"""`lesionwise info`: what would compute here, and why."""

from collections.abc import Callable
from pathlib import Path

import click

from lesionwise.commands.options import compute_options, debug_option, weights_option
from lesionwise.commands.screen import say
from lesionwise.errors import LesionwiseError
from lesionwise.texts import visible


@click.command("info", context_settings={"show_default": True})
@compute_options
@weights_option
@debug_option
def command(device: str, precision: str, threads: int, weights: Path | None) -> None:
    """Tell versions, the device that would be used and why, the weights, and the memory that is needed.

    The exit code is that of `segment` where device or weights cannot be used.
    """
    from lesionwise import system_info

    problems: list[LesionwiseError] = []
    sections: dict[str, Callable[[], list[str]]] = {
        "lesionwise": system_info.version_lines,
        "device": lambda: system_info.device_lines(device, precision, threads),
        "weights": lambda: system_info.weights_lines(weights),
        "memory": system_info.memory_lines,
    }
    for title, lines in sections.items():
        try:
            told = lines()
        except LesionwiseError as error:
            problems.append(error)
            told = ["cannot be used, see below"]
        for number, line in enumerate(told):
            say(visible(f"{'' if number else title:12}{line}"), nowhere_else=True)
    if problems:
        raise problems[0]
