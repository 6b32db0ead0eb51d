"""ITK's default number of threads: there is one in a process, and some of its filters know no other.

A batch prepares one case while it finishes the one before, so that two threads may want two numbers at once. With another
number N4 and registration round otherwise: the result would depend on what the other thread happens to do.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

import SimpleITK as sitk  # noqa: N813

_changed = Condition()
_users = 0


@contextmanager
def itk_threads(number: int) -> Iterator[None]:
    """Compute inside with this default number of threads; wait while another thread computes with another number."""
    global _users
    default = sitk.ProcessObject
    with _changed:
        _changed.wait_for(lambda: _users == 0 or default.GetGlobalDefaultNumberOfThreads() == number)
        default.SetGlobalDefaultNumberOfThreads(number)
        _users += 1
    try:
        yield
    finally:
        with _changed:
            _users -= 1
            _changed.notify_all()
