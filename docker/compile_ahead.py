"""Compile the numba functions of `segment` for each level of processor, and keep the code beside the modules.

usage: compile_ahead.py. Nothing is run that was compiled for another level than this machine's.
"""

import pickle
import subprocess
import sys

import numba
import numpy as np
import torch

from lesionwise.inference import network_runner
from lesionwise.network import UNet
from lesionwise.numba_cache import LEVELS
from lesionwise.preprocessing import denoising
from lesionwise.winograd import tiles

FUNCTIONS = {
    function.__name__: function
    for module in (denoising, tiles)
    for function in vars(module).values()
    if hasattr(function, "signatures")
}


def signatures() -> dict[str, list[object]]:
    """Run what `segment` runs, which compiles for this machine, and return with which types."""
    for kind in (np.float32, np.float64):
        denoising.denoise(np.random.default_rng(0).random((8, 8, 8)).astype(kind))
    network_runner(UNet(), torch.device("cpu"), torch.float32)(torch.randn(1, 2, 64, 64, 64))
    return {name: list(function.signatures) for name, function in FUNCTIONS.items()}


def compile_for(level: str, wanted: dict[str, list[object]]) -> None:
    """Compile for a level, in a process that has compiled nothing yet."""
    numba.config.CPU_NAME, numba.config.CPU_FEATURES = level, ""
    for name, types in wanted.items():
        for arguments in types:
            FUNCTIONS[name].compile(arguments)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        compile_for(sys.argv[1], pickle.load(sys.stdin.buffer))
    else:
        found = pickle.dumps(signatures())
        for level in LEVELS:
            subprocess.run([sys.executable, __file__, level], input=found, check=True)
