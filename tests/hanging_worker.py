"""Makes a worker hang in the middle of its first case: `dask worker --preload`; a file tells that it does."""

import os
import time
from pathlib import Path

from lesionwise.batch import computer

MARKER = "LESIONWISE_TEST_MARKER"


def hang(case, *_arguments):
    Path(os.environ[MARKER]).write_text(case.output.parent.name)
    time.sleep(3600)


def dask_setup(_worker):
    """Do it, in a worker that was told to load this."""
    computer.finish_case = hang
