"""What all tests share: fixed seeds, and the real scans beside the repository where they are there."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("lesionwise", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("lesionwise")

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    """Let each test draw the same from the generators of numpy and torch, whichever tests ran before it."""
    np.random.seed(0)
    if "torch" in sys.modules:  # tests that compute without it need not wait for its import
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of real scans and golden files, or skip the test visibly."""
    if not SHARED.is_dir():
        pytest.skip("the folder 'shared' with real scans and golden files is not beside the repository")
    return SHARED
