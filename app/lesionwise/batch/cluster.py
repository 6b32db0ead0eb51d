"""The cases of a batch on a Dask cluster: several worker processes, on this machine or on others.

Workers see the same files under the same names (a shared file system), have this program, and keep one engine
each. They write the outputs; only what a report holds travels. A lost worker's case goes to another one.
"""

import logging
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from lesionwise.batch.cases import BatchCase
from lesionwise.batch.computer import Computer, Results, compute_case, remove_if_empty
from lesionwise.batch.resume import finished_report
from lesionwise.batch.tables import DONE, FAILED, CaseResult
from lesionwise.case_description import describe_computation
from lesionwise.case_files import Case
from lesionwise.engine import Engine, Settings
from lesionwise.errors import DeviceError, InputError, LesionwiseError, UsageError, explain, trace
from lesionwise.progress import Display, Progress
from lesionwise.weights import named_weights, stated_weights

CONNECTION_SECONDS = 30

ADDRESS = re.compile(
    r"((tcp|tls|ucx|ucxx|ws|wss)://)?(\[[0-9a-fA-F:.]+(%\w+)?\]|[^\s:/\[\]]+):(?P<port>[0-9]{1,5})", re.ASCII
)
"""Of a scheduler; a host is a name, or an IP address, with brackets if of version 6."""

GPU_RESOURCE = "GPU"
"""`dask worker --resources "GPU=1"` marks a worker that has a GPU to itself; with --device cuda only those work."""

SCHEDULER_LOST = "the Dask scheduler was lost; start it and its workers again, and the same command goes on"

_one_case_at_a_time = threading.Lock()
"""Of a worker process, however many threads it has: a case uses all the threads it was given."""


@contextmanager
def cluster(address: str, settings: Settings, progress: Progress, force: bool = False) -> Iterator[Computer]:
    """Connect to the scheduler at `address`, wait for a worker, and give the cluster.

    Raises `UsageError` without the package distributed, `DeviceError` where the address is none, the scheduler does not
    answer or no worker can compute, and `WeightsError` of a worker.
    """
    settings = replace(settings, weights=_absolute(named_weights(settings.weights)))
    with _connected(address) as client:
        resources = {GPU_RESOURCE: 1} if settings.device == "cuda" else {}
        with progress.step("waiting for a worker" + (f" with {GPU_RESOURCE}" if resources else "")):
            computation = _ask_a_worker(client, settings, resources)

        def compute(items: Sequence[BatchCase]) -> Results:
            return _computed(client, items, settings, computation, resources, force)

        yield Computer(computation, compute)


def _connected(address: str) -> Any:
    """Return a client of the scheduler at `address`. Raises `UsageError` and `DeviceError` as `cluster`."""
    if not _is_address(address):
        raise DeviceError(
            f"{address}: this is no address of a Dask scheduler; give --scheduler tcp://HOST:PORT"
        )
    try:
        from distributed import Client
    except ImportError as error:
        raise UsageError(
            "--scheduler needs Dask; install the extra lesionwise[cluster] (docs/cluster.md)"
        ) from error
    for logger in ("distributed", "distributed.client"):  # what they complain of is told here, in a line
        logging.getLogger(logger).setLevel(logging.CRITICAL + 1)
    client: Any = Client.__new__(Client)  # in two steps: to have it, too, where the second one fails
    try:
        client.__init__(address, timeout=CONNECTION_SECONDS, set_as_default=False)
    except OSError as error:  # TimeoutError is one
        raise DeviceError(
            f"{address}: no Dask scheduler answers there; give --scheduler tcp://HOST:PORT"
        ) from error
    except (ImportError, RuntimeError, TypeError, ValueError) as error:  # TLS or UCX is not set up
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DeviceError(
            f"{address}: Dask cannot connect in this way ({reason}); set it up (docs/cluster.md), or give"
            " --scheduler tcp://HOST:PORT"
        ) from error
    finally:
        if client.status != "running":
            client.status = (
                "closed"  # or it would wait for a minute, when it is dropped, for what has not begun
            )
    return client


def _is_address(text: str) -> bool:
    """Tell whether a text has the form [SCHEME://]HOST:PORT, with a scheme that Dask knows between processes."""
    found = ADDRESS.fullmatch(text)
    return found is not None and 0 < int(found["port"]) < 2**16


def _ask_a_worker(client: Any, settings: Settings, resources: Mapping[str, int]) -> dict[str, Any]:
    """Return what results of this cluster depend on beside inputs; it takes as long as there is no worker."""
    asked = client.submit(worker_computation, settings, pure=False, resources=resources)
    try:
        answer: dict[str, Any] = asked.result()
    except LesionwiseError:
        raise
    except CancelledError as error:
        raise DeviceError(SCHEDULER_LOST) from error
    except Exception as error:
        message, _ = explain(error)
        raise DeviceError(f"a worker cannot compute ({message}); has it the same lesionwise?") from error
    return answer


def _computed(
    client: Any,
    items: Sequence[BatchCase],
    settings: Settings,
    computation: Mapping[str, Any],
    resources: Mapping[str, int],
    force: bool,
) -> Results:
    """Give each case's result when it is done; cases that have not begun are taken back when closed early.

    Raises `DeviceError` where the scheduler is lost.
    """
    from distributed import as_completed

    items_of = {
        client.submit(
            compute_on_worker,
            _from_anywhere(item),
            settings,
            computation,
            force,
            pure=False,
            resources=resources,
        ): item
        for item in items
    }
    try:
        for future in as_completed(items_of, loop=client.loop):
            try:
                yield future.result()
            except CancelledError as error:
                raise DeviceError(SCHEDULER_LOST) from error
            except Exception as error:
                item = items_of[future]
                remove_if_empty(item)
                yield CaseResult(item.name, FAILED, error=lost_in_words(error), trace=trace(error))
    finally:
        with suppress(Exception):
            client.cancel(list(items_of))


def worker_computation(settings: Settings) -> dict[str, Any]:
    """Return, on a worker, what its results depend on beside the inputs."""
    with _one_case_at_a_time:
        return describe_computation(settings, _engine(settings, stated_weights(settings.weights)))


def compute_on_worker(
    item: BatchCase, settings: Settings, computation: Mapping[str, Any], force: bool
) -> CaseResult:
    """Compute a case on a worker; one that was finished before its worker was lost is not computed again."""
    with _one_case_at_a_time:
        engine = _engine(settings, stated_weights(settings.weights))
        own = describe_computation(settings, engine)
        if own != computation:
            return CaseResult(item.name, FAILED, error=_otherwise(own, computation))
        try:
            report = None if force else finished_report(item.case, computation)
        except InputError as error:  # somebody corrected its mask since the start, for one
            return CaseResult(item.name, FAILED, error=explain(error)[0], trace=trace(error))
        if report is not None:
            return CaseResult(item.name, DONE, report)
        return compute_case(item, settings, engine, Display(), force)


@lru_cache(maxsize=1)
def _engine(settings: Settings, _stated: bytes) -> Engine:
    """Return the engine of this process: loaded once for all its cases, and again where the weights' manifest changes.

    `_stated`: that manifest; a worker may live longer than the weights in a folder.
    """
    return Engine.start(settings, Progress())


def _from_anywhere(item: BatchCase) -> BatchCase:
    """Return the case with absolute paths, whatever folder a worker runs in."""
    fields = {name: _absolute(value) for name, value in vars(item.case).items()}
    return replace(item, case=Case(**fields), folder=_absolute(item.folder))


def _absolute(value: Any) -> Any:
    return value.absolute() if isinstance(value, Path) else value


def _otherwise(own: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """Return a line that says in what a worker differs from the one that was asked first."""
    mine, others = ({**told, **told["settings"]} for told in (own, asked))
    keys = [key for key in mine if key != "settings" and mine[key] != others.get(key)]
    told = ", ".join(f"{key} {mine[key]} instead of {others.get(key)}" for key in keys)
    return f"its worker computes otherwise ({told}); give all workers one lesionwise, and name --precision"


def lost_in_words(error: Exception) -> str:
    """Return why the cluster has no result of a case."""
    from distributed.scheduler import KilledWorker

    if isinstance(error, KilledWorker):
        return "its workers were lost, one after the other; is there memory enough for it?"
    return f"the cluster lost it: {explain(error)[0]}"
