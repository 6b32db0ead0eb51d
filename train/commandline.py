"""What the training commands share: options from a recipe, and errors in one line."""

import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from lesionwise.commands.options import NumberRange, was_given
from lesionwise.errors import (
    InputError,
    PreprocessingError,
    UsageError,
    about,
    advising,
    explain,
    is_explained,
)
from lesionwise.network import DOWNSAMPLING, GROUPS


class MultipleOf(click.IntRange):
    """Whole numbers above 0 that are multiples of `factor`."""

    def __init__(self, factor: int) -> None:
        super().__init__(min=factor)
        self.factor = factor

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number, or fail as click does for one out of bounds."""
        number: int = super().convert(value, param, ctx)
        if number % self.factor:
            self.fail(f"{number} is no multiple of {self.factor}.", param, ctx)
        return number


COUNT, WHOLE = click.IntRange(1), click.IntRange(0)
POSITIVE, NOT_NEGATIVE, SHARE = NumberRange(0, min_open=True), NumberRange(0), NumberRange(0, 1)
PATCH = MultipleOf(DOWNSAMPLING)
"""Edge of a patch in voxels, which the networks halve three times."""
WIDTH = MultipleOf(GROUPS)
"""Channels of the segmentation network's first layer."""


Need = tuple[str, bool, str]
"""An option, whether it has an effect as a command was called, and what to add so that it does."""


def refuse_what_has_no_effect(*needs: Need) -> None:
    """Raise UsageError for an option that was given and would change nothing: who gives it expects that it does.

    Of the command that runs, and of its recipe. An option that is off (0, no) is let pass.
    """
    parameters = click.get_current_context().params
    for flag, has_effect, needed in needs:
        name = flag.removeprefix("--").replace("-", "_")
        if was_given(name) and parameters.get(name) and not has_effect:
            raise UsageError(f"{flag} has no effect here; add {needed}, or leave it out")


def training_command(table: str) -> Callable[[Callable[..., None]], "TrainingCommand"]:
    """Return a decorator that makes a command with `--recipe`; `table` is the recipe's table for it."""
    return lambda function: click.command(cls=TrainingCommand, table=table)(function)


class OneLineErrors(click.Command):
    """A command that an error which a user can mend ends with one line and the error's code; others keep their traceback."""

    def main(self, *args: Any, **settings: Any) -> Any:
        """Run."""
        try:
            return super().main(*args, **settings)
        except Exception as error:
            if not is_explained(error):
                raise
            message, code = explain(error)
            if message.startswith("not enough memory") and "batch" in {p.name for p in self.params}:
                message += ", or lower --batch or --patch"
            click.echo(f"error: {message}", err=True)
            raise SystemExit(code) from error


class OneLineGroup(OneLineErrors, click.Group):
    """The same for a group: it runs its commands without their own `main`."""


class TrainingCommand(OneLineErrors):
    """A command whose options can come from a recipe (`--recipe FILE` or `FILE:TABLE`); the command line overrides it.

    A recipe is a TOML file with a table for each command; its keys are the options' names without the dashes.
    """

    def __init__(self, *args: Any, table: str, **settings: Any) -> None:
        """Take `table`, the name of the recipe's table for this command."""
        super().__init__(*args, **settings)
        self.table = table
        self.params.insert(
            0,
            click.Option(
                ["--recipe"],
                metavar="FILE[:TABLE]",
                is_eager=True,
                expose_value=False,
                callback=self._use_recipe,
                help=f"Take options from this TOML file, table {table!r} if none is named; options given here override it.",
            ),
        )

    def _use_recipe(self, context: click.Context, _option: click.Parameter, value: str | None) -> None:
        if value is not None:
            file, _, table = value.partition(":")
            names = {option.removeprefix("--"): p.name for p in self.params for option in p.opts if p.name}
            context.default_map = {
                names[key]: setting
                for key, setting in read_recipe(Path(file), table or self.table, names).items()
            }


@contextmanager
def about_one(name: str, advice: str) -> Iterator[None]:
    """Begin the message of a `PreprocessingError` that arises inside with whom it is about, and end it with this advice.

    The program's own advice names options that training commands lack.
    """
    try:
        with about(name):
            yield
    except PreprocessingError as error:
        raise advising(error, advice) from error


def by_name(folders: Sequence[Path]) -> dict[str, Path]:
    """Return folders by their names.

    Raises:
        InputError: two have one name: what is made of the one would stand for both.
    """
    places = [folder.resolve() for folder in folders]  # `.` has a name, too
    twice = sorted(name for name, count in Counter(place.name for place in places).items() if count > 1)
    if twice:
        raise InputError(f"{twice[0]}: two of the folders are named so; rename one, or take it by itself")
    return {place.name: place for place in places}


def read_recipe(file: Path, table: str, names: Any) -> dict[str, Any]:
    """Return a table of a recipe.

    Raises:
        InputError: the file cannot be read, or has no such table.
        UsageError: a key is none of `names`.
    """
    try:
        recipe = tomllib.loads(file.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{file}: this recipe cannot be read ({error}); name a TOML file") from error
    if not isinstance(recipe.get(table), dict):
        raise InputError(f"{file}: this recipe has no table {table!r}; it has {', '.join(recipe) or 'none'}")
    unknown = sorted(set(recipe[table]) - set(names))
    if unknown:
        raise UsageError(
            f"{file}: {', '.join(unknown)} in table {table!r} is no option of this command; remove it"
        )
    return dict(recipe[table])
