"""Makes a worker hang in the middle of its first case: `dask worker --preload`; a file tells that it does."""

import os
import time
from pathlib import Path

from lesionwise.batch import computer

MARKER = "LESIONWISE_TEST_MARKER"


def hang(case, *_arguments):
    marker = Path(os.environ[MARKER])
    being_written = marker.with_suffix(".part")
    being_written.write_text(case.output.parent.name)
    being_written.rename(marker)  # whoever sees the file may kill this process at once
    time.sleep(3600)


def dask_setup(_worker):
    """Do it, in a worker that was told to load this."""
    computer.finish_case = hang
