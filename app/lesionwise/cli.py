"""The command line: one group whose commands are loaded when they are asked for.

Each command lives in `lesionwise.commands.<name>` as `command`; heavy imports happen inside it, so that
`lesionwise --help` answers at once. Every error ends as one line and an exit code.
"""

import importlib
import importlib.util
import signal
import sys
import warnings
from types import FrameType
from typing import NoReturn

import click

from lesionwise import __version__
from lesionwise.commands.screen import complain
from lesionwise.errors import UsageError, explain, trace

COMMANDS = ("segment", "batch", "preprocess", "evaluate", "phantom", "info")
"""The commands in the order in which help lists them."""

EXIT_INTERRUPTED = 128 + signal.SIGINT
EXIT_TERMINATED = 128 + signal.SIGTERM
EXIT_HUNG_UP = 128 + signal.SIGHUP

EXIT_CODES = """\b
Exit codes:
  0  done
  1  something unexpected; or some cases of several failed
  2  usage: the command cannot do what was asked
  3  an input cannot be used, or an output cannot be written
  4  preprocessing failed its check
  5  weights or device cannot be used
  130, 143, 129  interrupted, terminated, hung up"""


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        """Return the commands whose modules are installed."""
        return [name for name in COMMANDS if importlib.util.find_spec(f"lesionwise.commands.{name}")]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command, or None where there is no such command."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f"lesionwise.commands.{cmd_name}").command
        return command


@click.group(
    cls=LazyGroup,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="lesionwise")
def group() -> None:
    """Find the multiple-sclerosis lesions that are new between two FLAIR scans of one patient."""


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, else the code that the error carries."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    signal.signal(signal.SIGTERM, _terminate)  # so that temporary files are removed
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        signal.signal(signal.SIGHUP, _terminate)
    if not debug:
        warnings.simplefilter("ignore")  # the libraries' notes to programmers
    try:
        code = group.main(args=arguments, prog_name="lesionwise", standalone_mode=False)
    except BaseException as error:
        if debug and not isinstance(error, click.ClickException | click.exceptions.Exit | SystemExit):
            complain(trace(error))
        message, code = _explain(error)
        if message:
            complain("lesionwise: " + " ".join(message.split()))
    sys.exit(code if isinstance(code, int) else 0)


def _explain(error: BaseException) -> tuple[str, int]:
    """Return one line for people and the exit code."""
    match error:
        case click.exceptions.NoArgsIsHelpError():
            error.show()
            return "", UsageError.exit_code
        case click.UsageError():
            command = error.ctx.command_path if error.ctx else "lesionwise"
            return f"{error.format_message()} (see {command} --help)", UsageError.exit_code
        case click.ClickException():
            return error.format_message(), UsageError.exit_code
        case click.exceptions.Exit():
            return "", error.exit_code
        case click.Abort() | KeyboardInterrupt():
            return "interrupted; unfinished outputs were removed", EXIT_INTERRUPTED
        case SystemExit():
            ended = error.code in (EXIT_TERMINATED, EXIT_HUNG_UP)
            return "terminated; unfinished outputs were removed" if ended else "", _code(error)
        case _:
            return explain(error)


def _code(error: SystemExit) -> int:
    return error.code if isinstance(error.code, int) else int(error.code is not None)


def _terminate(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
