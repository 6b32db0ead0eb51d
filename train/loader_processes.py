"""The processes of a loader: where each takes up its stream, and how they stand back for the run that they work for."""

import os
import signal
import threading

from torch.utils.data import get_worker_info


def place_in_stream(batches_done: int, batches_in_block: int) -> tuple[int, int, int]:
    """Return this loader process's number in the stream, the block that it begins with, and how much of it to skip.

    The loader takes batches from its processes in turn, and a new loader asks its first one first: that one takes up where the
    stream was left. Without processes of its own the loader is the only one.
    """
    info = get_worker_info()
    workers = info.num_workers if info else 1
    worker = ((info.id if info else 0) + batches_done) % workers
    block, skipped = divmod((batches_done - worker + workers - 1) // workers, batches_in_block)
    return worker, block, skipped


def step_back(_worker: int) -> None:
    """Let the network have the processor first, and the run decide when it ends: it saves its state before that.

    Shells and schedulers signal all processes of a run at once. A loader process that ended by itself would fail the step.
    """
    os.nice(5)  # the loader works ahead in what is left
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # before other threads begin: they inherit it
    threading.Thread(target=_end_with_the_run, daemon=True).start()


def _end_with_the_run() -> None:
    """End this process when the run itself terminates it, as a loader does that is no longer needed."""
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != os.getppid():
        pass
    os._exit(0)
