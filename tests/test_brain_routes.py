"""Which way the brain is found: the learned one first, the atlas where its gate fails, and the report says which."""

import numpy as np
import pytest

from lesionwise.errors import PreprocessingError
from lesionwise.preprocessing import brain_routes
from lesionwise.preprocessing.brain_routes import by_first_route


@pytest.fixture
def routes(monkeypatch):
    """Two routes, told apart by the mask they give."""
    masks = {name: (lambda *_, n=n: np.full(3, n)) for n, name in enumerate(("learned", "atlas"))}
    monkeypatch.setattr(brain_routes, "ROUTES", masks)


def fails_for(*numbers):
    def attempt(extract):
        number = int(extract(None, None, 1)[0])
        if number in numbers:
            raise PreprocessingError(f"gate {number}", "give a mask")
        return number

    return attempt


def test_auto_takes_the_learned_way_where_it_passes(routes):
    warnings = []
    assert by_first_route("auto", fails_for(), warnings.append) == (0, "learned")
    assert warnings == []


def test_auto_takes_the_atlas_where_the_learned_gate_fails_and_says_so(routes):
    warnings = []
    assert by_first_route("auto", fails_for(0), warnings.append) == (1, "atlas")
    assert warnings == ["gate 0; trying the atlas"]


def test_where_both_fail_the_first_reason_is_told(routes):
    with pytest.raises(PreprocessingError, match="gate 0") as error:
        by_first_route("auto", fails_for(0, 1), lambda _line: None)
    assert error.value.exit_code == 4


@pytest.mark.parametrize(("asked", "number"), [("learned", 0), ("atlas", 1)])
def test_what_is_asked_for_is_the_only_way(routes, asked, number):
    assert by_first_route(asked, fails_for(1 - number), lambda _line: None) == (number, asked)
    with pytest.raises(PreprocessingError, match=f"gate {number}"):
        by_first_route(asked, fails_for(number), lambda _line: None)
