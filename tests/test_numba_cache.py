"""Compiled code is made for a level of processor, the highest that this one has, and kept in the folder that is named."""

import os
import subprocess
import sys

import numba
import pytest

from lesionwise.numba_cache import LEVELS, level_of

AVX2 = dict.fromkeys(("avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe"), True)
AVX512 = AVX2 | dict.fromkeys(("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"), True)


@pytest.mark.parametrize(
    ("features", "level"),
    [
        (AVX512 | {"amx_bf16": True}, "x86-64-v4"),
        (AVX512 | {"avx512vl": False}, "x86-64-v3"),
        (AVX2, "x86-64-v3"),
        (AVX2 | {"fma": False}, None),
        ({"neon": True}, None),
    ],
    ids=["AVX-512", "AVX-512 of which a part is missing", "AVX2", "no FMA", "another architecture"],
)
def test_the_level_of_a_processor(features, level):
    assert level_of(features) == level


def test_numba_compiles_for_a_level_and_not_for_this_very_processor():
    assert numba.config.CPU_NAME in {*LEVELS, None}


def test_code_is_kept_in_the_folder_that_is_named_and_read_there_where_it_cannot_be_written(tmp_path):
    cache = tmp_path / "not/yet/there"
    code = (
        "import numpy as np\n"
        "from lesionwise.preprocessing.denoising import _noise_variance\n"
        "_noise_variance(np.ones((8, 8, 8)))\n"
        "print(sum(_noise_variance.stats.cache_hits.values()))"
    )
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache)}
    # The superuser may write anywhere, unless the right to is taken away.
    humbly = ["setpriv", "--bounding-set=-all"] if os.geteuid() == 0 else []

    def hits():
        done = subprocess.run(
            [*humbly, sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    assert hits() == 0
    kept = sorted(cache.rglob("*"))
    assert any(path.suffix == ".nbc" for path in kept)
    folders = [cache, *(path for path in kept if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    assert hits() == 1
    for folder in folders:
        folder.chmod(0o755)
    assert sorted(cache.rglob("*")) == kept
