"""The ways to find the brain, and which are tried: the learned one, and an atlas where that fails."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lesionwise.errors import PreprocessingError
from lesionwise.preprocessing.atlas import extract_brain_by_atlas
from lesionwise.preprocessing.brain_extraction import extract_brain

Extractor = Callable[[NDArray[np.floating[Any]], NDArray[np.floating[Any]], int], NDArray[np.bool_]]
"""Takes a scan, its affine and a number of threads, and returns the brain mask on the scan's grid."""

ROUTES: dict[str, Extractor] = {"learned": extract_brain, "atlas": extract_brain_by_atlas}

EXTRACTIONS = {"auto": ("learned", "atlas"), "learned": ("learned",), "atlas": ("atlas",)}
"""What a user may ask for, and the routes that are tried for it, in order."""
DEFAULT_EXTRACTION = "auto"

T = TypeVar("T")


def by_first_route(
    extraction: str, attempt: Callable[[Extractor], T], warn: Callable[[str], None]
) -> tuple[T, str]:
    """Return what `attempt` makes of the first route that passes its gates, and the route's name.

    `warn` is told of a route that failed where another is tried. Raises the `PreprocessingError` of the first
    route if none passes.
    """
    first_error: PreprocessingError | None = None
    for route in EXTRACTIONS[extraction]:
        if first_error:
            warn(f"{first_error.seen}; trying the {route}")
        try:
            return attempt(ROUTES[route]), route
        except PreprocessingError as error:
            first_error = first_error or error
    assert first_error is not None
    raise first_error
