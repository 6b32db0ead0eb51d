"""How functions are compiled by numba: for which kind of processor, and where the result is kept.

Compiled code is kept in NUMBA_CACHE_DIR or beside the modules, and nowhere else: numba alone would fall back on the home
folder. It is made for a level of the x86-64 architecture, not for the very processor, so that an image can hold it for
the processors it will meet. Where it cannot be written, it is still read; what is not there, each process compiles.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba
from llvmlite import binding
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    InTreeCacheLocator,
    UserProvidedCacheLocator,
)

_V3 = ("avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe")
LEVELS = {
    "x86-64-v4": (*_V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"),
    "x86-64-v3": _V3,
}
"""What a processor must have for each level, the highest first (x86-64 psABI; names of LLVM)."""

if numba.config.CACHE_DIR:
    with suppress(OSError):  # what is not there cannot be written to
        Path(numba.config.CACHE_DIR).mkdir(parents=True, exist_ok=True)

WRITABLE: bool = os.access(numba.config.CACHE_DIR or Path(__file__).parent, os.W_OK)


def level_of(features: Mapping[str, bool]) -> str | None:
    """Return the highest of `LEVELS` that a processor with these features has."""
    return next((level for level, needed in LEVELS.items() if all(features.get(n) for n in needed)), None)


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator: `numba.njit` of a function that runs without the interpreter lock and divides as numpy does."""

    def decorate(function: Callable[..., Any]) -> Any:
        result = numba.njit(nogil=True, cache=WRITABLE, error_model="numpy", **options)(function)
        if not WRITABLE:
            result._cache = _ReadOnlyCache(function)
        return result

    return decorate


class _BesideTheModule(InTreeCacheLocator):  # type: ignore[misc]
    def ensure_cache_path(self) -> None:
        """Do nothing, where numba wants to write: reading is enough."""


class _InTheCacheFolder(UserProvidedCacheLocator):  # type: ignore[misc]
    def ensure_cache_path(self) -> None:
        """Raise `OSError` where there is nothing to read: numba then looks beside the module."""
        Path(self._cache_path).stat()


class _FoundWhereItIs(CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = (_InTheCacheFolder, _BesideTheModule)


class _ReadOnlyCache(FunctionCache):  # type: ignore[misc]
    _impl_class = _FoundWhereItIs

    def save_overload(self, sig: object, data: object) -> None:
        """Keep nothing."""


if numba.config.CPU_NAME is None and (_level := level_of(binding.get_host_cpu_features())):
    numba.config.CPU_NAME, numba.config.CPU_FEATURES = _level, ""  # the level's own features, no more
