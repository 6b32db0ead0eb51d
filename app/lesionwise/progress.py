"""Progress of a case: which step runs, how far it is, how long each took; and warnings.

`Progress` keeps the record, a `Display` shows it: on a terminal a bar, elsewhere plain lines, both on standard
error, or nothing. The cases of a batch share one display, and each has a record of its own.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress


class Display:
    """Shows nothing."""

    def begin(self, title: str) -> None:
        """A step begins."""

    def advance(self, done: int, total: int) -> None:
        """The step is so far."""

    def end(self, title: str) -> None:
        """The step is done."""

    def note(self, line: str) -> None:
        """Something worth knowing."""

    def overall(self, done: int, total: int, text: str) -> None:
        """So many cases of a batch are done."""

    def close(self) -> None:
        """Leave the terminal as it was."""

    def without_lines(self) -> "Display":
        """Return a display of the same place that writes no lines: for the steps of a batch's cases."""
        return Display()


class Lines(Display):
    """Writes a line for each note, and one for each quarter of a long step."""

    def __init__(self) -> None:
        self._quarter = 0

    def begin(self, title: str) -> None:  # noqa: ARG002 - only finished steps get a line
        """Forget how far the step before was."""
        self._quarter = 0

    def advance(self, done: int, total: int) -> None:
        """Write a line when another quarter is done."""
        quarter = 4 * done // total
        if self._quarter < quarter < 4:
            self._quarter = quarter
            self.note(f"  {done} of {total}")

    def note(self, line: str) -> None:
        """Write the line."""
        with suppress(OSError):  # a log that is full or gone is no reason to lose the work
            print(line, file=sys.stderr, flush=True)


class Terminal(Display):
    """Shows the running step with a bar where its length is known, and one of the batch; notes stay as lines."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
        self._bars = Bars(SpinnerColumn(), *columns, console=Console(stderr=True), transient=True)
        self._overall: TaskID | None = None
        self._step: TaskID | None = None
        self._bars.start()

    def begin(self, title: str) -> None:
        """Show the step."""
        self._step = self._bars.add_task(title, total=None)

    def advance(self, done: int, total: int) -> None:
        """Move the step's bar."""
        if self._step is not None:
            self._bars.update(self._step, completed=done, total=total)

    def end(self, title: str) -> None:  # noqa: ARG002 - there is one at a time
        """Remove the step's bar."""
        if self._step is not None:
            self._bars.remove_task(self._step)
            self._step = None

    def note(self, line: str) -> None:
        """Write the line above the bars."""
        with suppress(OSError):  # the terminal was closed
            self._bars.console.print(line, highlight=False, markup=False)

    def overall(self, done: int, total: int, text: str) -> None:
        """Move the batch's bar."""
        if self._overall is None:
            self._overall = self._bars.add_task(text, total=total)
        self._bars.update(self._overall, completed=done, total=total, description=text)

    def close(self) -> None:
        """Remove the bars."""
        with suppress(OSError):
            self._bars.stop()

    def without_lines(self) -> Display:
        """Return the bars of this terminal."""
        return _OnlyBars(self)


class _OnlyBars(Display):
    """The bars of a terminal without its lines."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def begin(self, title: str) -> None:
        """Show the step."""
        self._terminal.begin(title)

    def advance(self, done: int, total: int) -> None:
        """Move the step's bar."""
        self._terminal.advance(done, total)

    def end(self, title: str) -> None:
        """Remove the step's bar."""
        self._terminal.end(title)


class Progress:
    """Keeps the seconds of each step and the warnings of a case, and tells a display."""

    def __init__(self, display: Display | None = None) -> None:
        self.display = display or Display()
        self.seconds: dict[str, float] = {}
        self.warnings: list[str] = []

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Time a step; the same title twice adds up. After an error it counts as not done."""
        begin = time.perf_counter()
        self.display.begin(title)
        try:
            yield
        except BaseException:
            self.display.end(title)
            raise
        seconds = time.perf_counter() - begin
        self.seconds[title] = round(self.seconds.get(title, 0.0) + seconds, 3)
        self.display.end(title)
        self.note(f"{title}: {seconds:.1f} s")

    @contextmanager
    def steps(self) -> Iterator[Callable[[str], None]]:
        """Give a function that ends the step before and begins the one named, for callbacks."""
        with ExitStack() as current:  # an error ends the step that runs as failed

            def begin(title: str) -> None:
                current.pop_all().close()
                current.enter_context(self.step(title))

            yield begin

    def advance(self, done: int, total: int) -> None:
        """Tell how far the step is."""
        self.display.advance(done, total)

    def note(self, line: str) -> None:
        """Tell something worth knowing."""
        self.display.note(line)

    def warn(self, line: str) -> None:
        """Tell, and keep for the report, something that the user should look at."""
        self.warnings.append(line)
        self.note(f"warning: {line}")


@contextmanager
def show_progress(quiet: bool) -> Iterator[Progress]:
    """Give the progress that suits where standard error goes."""
    hidden = quiet or sys.stderr is None  # so where it was closed
    display = Display() if hidden else Terminal() if sys.stderr.isatty() else Lines()
    try:
        yield Progress(display)
    finally:
        display.close()
