"""What computes the cases of a batch: this machine, one after the other, or each while the next is prepared."""

import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import zip_longest
from threading import Event
from typing import Any

from lesionwise.batch.cases import BatchCase
from lesionwise.batch.resume import OthersWorkError, refuse_others_work
from lesionwise.batch.tables import DONE, FAILED, CaseResult
from lesionwise.case_description import describe_computation
from lesionwise.engine import Engine, Settings
from lesionwise.errors import STALE, InputError, advising, explain, trace
from lesionwise.files import make_folder
from lesionwise.memory import free_bytes
from lesionwise.pipeline import finish_case
from lesionwise.prepared_case import PreparedCase, prepare_case, read_case
from lesionwise.preprocessing.recipe import CPU
from lesionwise.progress import Display, Progress
from lesionwise.texts import visible

ROOM_FOR_TWO_CASES_GB = 8.0
"""Two pairs of whole heads of 1 mm voxels take up to 3 GB each; the rest is room for finer ones."""

Results = Generator[CaseResult, None, None]


@dataclass(frozen=True)
class Computer:
    """Computes cases.

    `computation`: what results depend on beside the inputs, as `describe_computation` tells it.
    `compute`: gives the result of each case when it is done, in any order; closed early, it stops.
    """

    computation: Mapping[str, Any]
    compute: Callable[[Sequence[BatchCase]], Results]


@contextmanager
def this_machine(
    settings: Settings, progress: Progress, prefetch: bool | None = None, force: bool = False
) -> Iterator[Computer]:
    """Load the network and give this machine.

    `prefetch`: a case is prepared while the network is in the one before; None: where `overlap_pays` says so.
    `force`: as `compute_case`.

    Raises `WeightsError` or `DeviceError`.
    """
    with progress.step("loading the network"):
        engine = Engine.start(settings, progress)
    display = progress.display.without_lines()
    if prefetch is None:
        prefetch = overlap_pays(engine.threads, free_bytes(CPU) / 1e9)
    way = _overlapping if prefetch else _in_turn
    yield Computer(
        describe_computation(settings, engine), lambda items: way(items, settings, engine, display, force)
    )


def overlap_pays(threads: int, free_gb: float) -> bool:
    """Tell whether two cases at a time save time and fit: whoever asks for one thread gets no second one."""
    return threads > 1 and free_gb >= ROOM_FOR_TWO_CASES_GB


def compute_case(
    item: BatchCase, settings: Settings, engine: Engine, display: Display, force: bool
) -> CaseResult:
    """Compute a case; whatever goes wrong in it is its result. `force`: also others' work is replaced by its outputs."""
    record = Progress(display)
    return _finish(item, lambda: _prepare(item, settings, engine, record), settings, engine, record, force)


def _in_turn(
    items: Sequence[BatchCase], settings: Settings, engine: Engine, display: Display, force: bool
) -> Results:
    for item in items:
        yield compute_case(item, settings, engine, display, force)


def _overlapping(
    items: Sequence[BatchCase], settings: Settings, engine: Engine, display: Display, force: bool
) -> Results:
    """Prepare each case in a thread while the case before it is in the network: two cases are in memory."""
    stop = Event()
    records = {item.name: Progress(_UntilStopped(stop)) for item in items}

    def prepare(item: BatchCase) -> PreparedCase:
        return _prepare(item, settings, engine, records[item.name])

    with ThreadPoolExecutor(1) as pool:
        ahead = {item.name: pool.submit(prepare, item) for item in items[:1]}
        try:
            for item, following in zip_longest(items, items[1:]):
                with Progress(display).step(f"preparing {visible(item.name)}"):
                    wait([ahead[item.name]])
                prepared = ahead.pop(item.name)
                if following:
                    ahead[following.name] = pool.submit(prepare, following)
                records[item.name].display = display
                yield _finish(item, prepared.result, settings, engine, records[item.name], force)
        finally:  # after an interruption the step that runs is waited for; nothing else could end it
            stop.set()
            wait(ahead.values())
            for item in items:
                if item.name in ahead:
                    remove_if_empty(item)


def remove_if_empty(item: BatchCase) -> None:
    """Remove the folders that were made for a case that wrote nothing."""
    with suppress(OSError):
        for folder in (item.case.output.parent, item.folder):
            folder.rmdir()


class _UntilStopped(Display):
    """Shows nothing, and lets no step begin after `stop`."""

    def __init__(self, stop: Event) -> None:
        self._stop = stop

    def begin(self, title: str) -> None:
        """Refuse to begin a step whose result nobody waits for."""
        if self._stop.is_set():
            raise InterruptedError(f"stopped before {title}")


def _prepare(item: BatchCase, settings: Settings, engine: Engine, record: Progress) -> PreparedCase:
    """Do all of a case that comes before the network."""
    if item.problem:
        raise InputError(item.problem)
    for path in item.case.outputs:
        make_folder(path.parent)
    scans = read_case(item.case, settings, record)
    return prepare_case(scans, settings, engine.threads, record, engine.device)


def _finish(
    item: BatchCase,
    prepared: Callable[[], PreparedCase],
    settings: Settings,
    engine: Engine,
    record: Progress,
    force: bool,
) -> CaseResult:
    """Do the rest of it; an error, also of what `prepared` calls, is the case's result."""
    # Checked at the start, too; but a mask may be corrected while a batch runs for a night.
    check = (lambda _: None) if force else refuse_others_work
    try:
        report = finish_case(item.case, prepared(), settings, engine, record, check)
        return CaseResult(item.name, DONE, report)
    except OthersWorkError as error:
        return CaseResult(item.name, FAILED, error=explain(error)[0], trace=trace(error))
    except Exception as error:
        message, _ = explain(advising(error, f"check the scans or {item.mask_advice}"))
        if os.path.lexists(item.case.output):  # Path.exists would raise in a folder without permission
            message += STALE
        return CaseResult(item.name, FAILED, error=message, trace=trace(error))
    finally:
        remove_if_empty(item)
