"""Compiled code is made for a level of processor, the highest that this one has."""

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
