"""Progress of one case: which step runs, how far it is, how long each took; and warnings.

On a terminal a bar, elsewhere plain lines, both on standard error, or nothing.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager


class Progress:
    """Keeps the time of each step and the warnings, and shows nothing."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.warnings: list[str] = []

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Time a step; the same title twice adds up."""
        begin = time.perf_counter()
        self._begin(title)
        yield
        seconds = time.perf_counter() - begin
        self.seconds[title] = round(self.seconds.get(title, 0.0) + seconds, 3)
        self._end(title, seconds)

    @contextmanager
    def steps(self) -> Iterator[Callable[[str], None]]:
        """Give a function that ends the step before and begins the one named, for callbacks."""
        current = ExitStack()

        def begin(title: str) -> None:
            current.close()
            current.enter_context(self.step(title))

        yield begin
        current.close()  # not after an error: a step that failed has not ended

    def advance(self, done: int, total: int) -> None:
        """Tell how far the step is."""

    def note(self, line: str) -> None:
        """Tell something worth knowing."""

    def warn(self, line: str) -> None:
        """Tell, and keep for the report, something that the user should look at."""
        self.warnings.append(line)
        self.note(f"warning: {line}")

    def close(self) -> None:
        """Leave the terminal as it was."""

    def _begin(self, title: str) -> None: ...

    def _end(self, title: str, seconds: float) -> None: ...


class LinesProgress(Progress):
    """Writes a line for each step when it is done, and one for each quarter of a long one."""

    def __init__(self) -> None:
        super().__init__()
        self._quarter = 0

    def advance(self, done: int, total: int) -> None:
        """Write a line when another quarter is done."""
        quarter = 4 * done // total
        if self._quarter < quarter < 4:
            self._quarter = quarter
            self.note(f"  {done} of {total}")

    def note(self, line: str) -> None:
        """Write the line."""
        print(line, file=sys.stderr, flush=True)

    def _begin(self, title: str) -> None:  # noqa: ARG002 - only finished steps get a line
        self._quarter = 0

    def _end(self, title: str, seconds: float) -> None:
        self.note(f"{title}: {seconds:.1f} s")


class TerminalProgress(Progress):
    """Shows the running step with a bar where its length is known; finished steps stay as lines."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        self._bars = Bars(SpinnerColumn(), *columns, console=Console(stderr=True), transient=True)
        self._bars.start()

    def advance(self, done: int, total: int) -> None:
        """Move the bar."""
        for task in self._bars.task_ids:
            self._bars.update(task, completed=done, total=total)

    def note(self, line: str) -> None:
        """Write the line above the bar."""
        self._bars.console.print(line, highlight=False, markup=False)

    def close(self) -> None:
        """Remove the bar."""
        self._bars.stop()

    def _begin(self, title: str) -> None:
        self._bars.add_task(title, total=None)

    def _end(self, title: str, seconds: float) -> None:
        for task in self._bars.task_ids:
            self._bars.remove_task(task)
        self.note(f"{title}: {seconds:.1f} s")


@contextmanager
def show_progress(quiet: bool) -> Iterator[Progress]:
    """Give the progress that suits where standard error goes."""
    progress = Progress() if quiet else TerminalProgress() if sys.stderr.isatty() else LinesProgress()
    try:
        yield progress
    finally:
        progress.close()
