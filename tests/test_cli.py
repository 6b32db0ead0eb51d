"""The command line answers at once, with one line for each error and the code that belongs to it."""

import os
import resource
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress

import click
import pytest

from lesionwise import cli
from lesionwise.commands.segment import lesion_lines
from lesionwise.errors import DeviceError, InputError, PreprocessingError, UsageError, WeightsError
from lesionwise.progress import Terminal, show_progress

HEAVY = ("torch", "SimpleITK", "scipy", "numpy", "nibabel", "numba", "rich")


def run(capsys, *arguments):
    """Run the command line in this process and return (code, standard output, standard error)."""
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments))
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


@pytest.fixture(autouse=True)
def keep_signals():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def failing(monkeypatch):
    """Return a function that makes the command line's only command raise an error."""

    def install(error):
        @click.command("segment")
        @click.option("--debug", is_flag=True)
        def command(debug):
            raise error

        monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: command)

    return install


@pytest.mark.parametrize("arguments", [("--help",), ("segment", "--help"), ("--version",)])
def test_help_needs_no_heavy_import_and_answers_within_half_a_second(arguments):
    code = (
        "import sys\nfrom lesionwise.cli import main\n"
        "try:\n    main()\n"
        f"finally:\n    assert not {{*{HEAVY}}} & set(sys.modules), sorted({{*{HEAVY}}} & set(sys.modules))"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert "lesionwise" in done.stdout
    # Processor time, not the clock's: on a free machine they are the same, and a busy one fails nothing.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


def test_every_listed_command_loads_and_explains_itself(capsys):
    names = cli.group.list_commands(click.Context(cli.group))
    assert "segment" in names
    assert set(names) <= set(cli.COMMANDS)
    for name in names:
        code, out, _ = run(capsys, name, "--help")
        assert code == 0
        assert "Usage" in out


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (UsageError("a.nii: wrong"), 2, "a.nii: wrong"),
        (InputError("a.nii: damaged"), 3, "a.nii: damaged"),
        (PreprocessingError("no brain"), 4, "no brain"),
        (WeightsError("no weights"), 5, "no weights"),
        (DeviceError("no GPU"), 5, "no GPU"),
        (OSError(28, "No space left on device", "/tmp/x"), 3, "/tmp/x: No space left on device"),
        (MemoryError(), 1, "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: tried\nmore"), 1, "lower --threads"),
        (RuntimeError("CUDA out of memory. Tried to\nallocate"), 1, "--device cpu"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ValueError("odd\nsecond line"), 1, "unexpected ValueError: odd; --debug"),
    ],
)
def test_each_error_is_one_line_and_its_code(capsys, failing, error, code, words):
    failing(error)
    ended, out, err = run(capsys, "segment")
    assert ended == code
    assert out == ""
    assert words in err
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err


def test_debug_shows_where(capsys, failing):
    failing(ValueError("odd"))
    code, _, err = run(capsys, "segment", "--debug")
    assert code == 1
    assert "Traceback" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("segment",),
        ("segment", "-t1", "a"),
        ("segment", "-t1", "a", "-t2", "b", "-o", "c.nii", "--device", "tpu"),
        ("segment", "-t1", "a", "-t2", "b", "-o", "c.nii", "--threads", "-1"),
        ("segment", "-t1", "a", "-t2", "b", "-o", "c.nii", "--threshold", "1"),
        ("segment", "-t1", "a", "-t2", "b", "-o", "c.nii", "--overlap", "1"),
        ("segment", "-t1", "a", "-t2", "b", "-o", "c.nii", "--threshold", "nan"),
        ("batch", "a", "b", "--overlap", "NaN"),
        ("phantom", "a", "--unchanged-share", "nan"),
        ("segment", "-t1", "a", "-t2", "b", "-o", "c.nii", "more"),
    ],
)
def test_usage_errors_are_one_line_and_code_2(capsys, arguments):
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert err.count("\n") == 1
    assert "--help" in err


@pytest.mark.parametrize(("number", "ends_with"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_termination_runs_the_clean_up_and_tells_by_what(capsys, monkeypatch, number, ends_with):
    class Terminated(click.Command):
        def invoke(self, ctx):
            os.kill(os.getpid(), number)
            time.sleep(5)

    signal.signal(signal.SIGHUP, lambda *_: None)  # the tests may run under nohup; and nothing is to end them
    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: Terminated("segment"))
    code, _, err = run(capsys, "segment")
    assert code == ends_with
    assert "terminated" in err


def test_under_nohup_a_closed_terminal_ends_nothing(capsys, monkeypatch):
    class HungUp(click.Command):
        def invoke(self, ctx):
            os.kill(os.getpid(), signal.SIGHUP)

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: HungUp("segment"))
    assert run(capsys, "segment") == (0, "", "")


@pytest.fixture
def writing_to():
    """Return a function that runs Python with its standard output and error where a shell sends them."""

    def call(code, redirection):
        line = f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} {redirection}"
        return subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True)

    return call


SAY = "from lesionwise.commands.screen import say; say('x' * 100_000); say('y')"


@pytest.mark.parametrize("redirection", [">/dev/full", "| true", ">&-"])
def test_results_that_stand_in_files_need_no_standard_output(writing_to, redirection):
    done = writing_to(SAY, redirection)
    assert (done.returncode, done.stderr) == (0, "")


def test_results_that_stand_nowhere_else_are_lost_only_to_who_has_seen_enough(writing_to):
    nowhere = "from lesionwise import cli; cli.main(['info', '--device', 'cpu', '--weights', '/dev/null'])"
    full = writing_to(nowhere, ">/dev/full")
    assert full.returncode == 3
    assert full.stderr.startswith("lesionwise: standard output: cannot be written (No space left on device)")
    gone = writing_to(nowhere, "| true")
    assert gone.returncode == 5
    assert gone.stderr.startswith("lesionwise: /dev/null: this folder has no manifest.json")
    assert (full.stderr + gone.stderr).count("\n") == 2


def test_a_terminal_that_is_closed_is_no_reason_to_lose_the_work(monkeypatch):
    master, slave = os.openpty()
    terminal = os.fdopen(slave, "w")
    monkeypatch.setattr(sys, "stderr", terminal)
    with show_progress(quiet=False) as progress:
        assert isinstance(progress.display, Terminal)
        os.close(master)
        with progress.step("a step"):
            progress.warn("a warning")
    monkeypatch.undo()
    with suppress(OSError):  # what nobody took is still to be written
        terminal.close()
    assert progress.warnings == ["a warning"]


def test_an_error_that_cannot_be_told_keeps_its_code(writing_to):
    wrong = "from lesionwise import cli; cli.main(['evaluate', '-i', 'none.nii', '-r', 'none.nii'])"
    assert writing_to(wrong, "2>/dev/full").returncode == 3


def test_the_table_of_lesions_is_printed_one_line_a_lesion() -> None:
    lesion = {
        "id": 1,
        "volume_mm3": 123.45,
        "longest_diameter_mm": 7.0,
        "max_probability": 0.875,
        "centre_mm": (-20.0, 3.25, 41.0),
    }
    lines = lesion_lines([lesion]).splitlines()
    assert lines[0].split()[:4] == ["lesion", "volume_mm3", "diameter_mm", "probability"]
    assert lines[1].split() == ["1", "123.5", "7.0", "0.88", "-", "-20.0,", "3.2,", "41.0"]
    assert lesion_lines([]) == "no new lesions"
