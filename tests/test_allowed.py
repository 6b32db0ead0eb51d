"""What the command line refuses as a setting is refused from Python, too, before any work."""

import math

import pytest

from lesionwise.allowed import BRAIN_EXTRACTIONS, WINDOW_MULTIPLE
from lesionwise.engine import Settings
from lesionwise.errors import UsageError
from lesionwise.inference import Windows
from lesionwise.network import DOWNSAMPLING
from lesionwise.preprocessing.brain_routes import EXTRACTIONS


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"threshold": 50}, "threshold 50 is no number above 0 to below 1"),
        ({"threshold": math.nan}, "threshold nan is no number"),
        ({"threshold": 0}, "above 0"),
        ({"threshold": "0.5"}, "threshold '0.5' is no number"),
        ({"certainty": 2}, "certainty 2 is no number from 0 to below 1"),
        ({"certainty": -math.inf}, "certainty -inf"),
        ({"threads": -1}, "threads -1 is no whole number from 0 to 1024"),
        ({"threads": 1.5}, "threads 1.5"),
        ({"threads": True}, "threads True"),
        ({"device": "gpu"}, "device 'gpu' is none of auto, cpu, cuda"),
        ({"precision": "fp16"}, "precision 'fp16' is none of auto, fp32, bf16"),
        ({"output_grid": "time_1"}, "output_grid 'time_1' is none of time1, halfway, time2"),
        ({"brain_extraction": "hd-bet"}, "brain_extraction 'hd-bet'"),
    ],
)
def test_impossible_settings_are_refused(wrong, words):
    with pytest.raises(UsageError, match=words):
        Settings(**wrong)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"edge": 20}, "window 20 is not a multiple of 8"),
        ({"edge": 8}, "window 8 is no whole number from 16 to 1024"),
        ({"edge": 0}, "window 0"),
        ({"edge": 64.0}, "window 64.0"),
        ({"overlap": 1}, "overlap 1 is no number from 0 to 0.9"),
        ({"overlap": math.nan}, "overlap nan"),
    ],
)
def test_impossible_windows_are_refused(wrong, words):
    with pytest.raises(UsageError, match=words):
        Windows(**wrong)


def test_what_lies_on_a_bound_is_taken():
    assert Settings(threshold=0.999, certainty=0, threads=0, windows=Windows(16, 0.9)).certainty == 0
    assert Windows().edge is None


def test_choices_and_the_network_agree_with_what_computes():
    assert set(BRAIN_EXTRACTIONS) == set(EXTRACTIONS)
    assert WINDOW_MULTIPLE == DOWNSAMPLING
