"""What a benchmark says that a process took is what that process took, not its parent."""

import subprocess
import sys

from benchmarks.programs import peak_memory_bytes

MEBIBYTE = 2**20
HOLDS = "import sys; held = bytearray(int(sys.argv[1])); held = None; print('ready', flush=True); sys.stdin.read()"


def peak_of_a_child(held_bytes: int) -> int:
    """Return the peak of a Python that held so much at once, and holds it no more."""
    with subprocess.Popen(
        [sys.executable, "-S", "-c", HOLDS, str(held_bytes)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        child.stdout.readline()
        peak = peak_memory_bytes(child.pid)
        child.stdin.close()
    return peak


def test_the_peak_is_of_the_process_itself_and_stays_when_memory_is_given_back():
    large = bytearray(300 * MEBIBYTE)  # of the parent: no child's
    small = peak_of_a_child(0)
    assert 0 < small < 100 * MEBIBYTE
    assert 190 * MEBIBYTE < peak_of_a_child(200 * MEBIBYTE) - small < 210 * MEBIBYTE
    assert peak_memory_bytes("self") > len(large)


def test_a_process_that_has_ended_held_nothing():
    ended = subprocess.Popen([sys.executable, "-S", "-c", ""])
    ended.wait()
    assert peak_memory_bytes(ended.pid) == 0
