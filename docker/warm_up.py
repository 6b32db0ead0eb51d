"""Use the libraries as the program does, so that Python keeps the bytecode of just the modules that are needed.

The image holds no other bytecode: all of it would take some 200 MB, none would make each start wait for seconds.
The program's own code for numba is compiled later, by compile_ahead.py.
"""

import importlib

import numba

MODULES = (
    "click", "concurrent.futures", "jinja2", "nibabel", "numpy", "rich.progress", "safetensors.torch", "scipy.fft",
    "scipy.interpolate", "scipy.ndimage", "scipy.optimize", "scipy.signal", "scipy.spatial", "scipy.stats", "SimpleITK",
    "threadpoolctl", "torch", "torch.nn.functional", "torch.jit",
)  # fmt: skip


@numba.njit(nogil=True)
def total(values):
    """Compile something, for what numba imports only then."""
    result = 0.0
    for value in values:
        result += value
    return result


for name in MODULES:
    importlib.import_module(name)
total(importlib.import_module("numpy").ones(3))
