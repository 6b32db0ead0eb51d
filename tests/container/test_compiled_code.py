"""Functions that numba compiles are in the image, for each level of processor: no start compiles them again."""

import pytest

pytestmark = pytest.mark.container

USE_THEM = """
import sys
import numba, numpy as np, torch
numba.config.CPU_NAME, numba.config.CPU_FEATURES = (sys.argv[1], "") if len(sys.argv) > 1 else (None, None)
from lesionwise.inference import network_runner
from lesionwise.network import UNet
from lesionwise.preprocessing import denoising
from lesionwise.winograd import tiles
assert numba.config.CPU_NAME
functions = [f for module in (denoising, tiles) for f in vars(module).values() if hasattr(f, "stats")]
for kind in (np.float32, np.float64):
    denoising.denoise(np.random.default_rng(0).random((8, 8, 8)).astype(kind))
network_runner(UNet(), torch.device("cpu"), torch.float32)(torch.randn(1, 2, 32, 32, 32))
print(sum(sum(f.stats.cache_hits.values()) for f in functions), sum(sum(f.stats.cache_misses.values()) for f in functions))
"""


@pytest.mark.parametrize("level", [[], ["x86-64-v3"]], ids=["this processor's level", "x86-64-v3"])
def test_nothing_is_compiled(image, level):
    options = [*image.read_only, "--user", "54321:54321", "--entrypoint=/opt/venv/bin/python"]
    found, compiled = image.run(options, ["-c", USE_THEM, *level]).stdout.split()
    assert int(compiled) == 0
    assert int(found) >= 5
