"""The evaluator against the printed numbers of animaSegPerfAnalyzer itself."""

import json

import pytest

from lesionwise.evaluation import MEASURES, evaluate_pair
from lesionwise.evaluation_files import read_pair
from lesionwise.overlap import Thresholds

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def golden(shared):
    folder = shared / "golden" / "segperf"
    return folder, json.loads((folder / "golden.json").read_text())["cases"]


def test_every_measure_of_every_run_agrees_to_the_printed_decimals(golden):
    folder, cases = golden
    runs = 0
    for case in cases:
        prediction, truth = read_pair(folder / case["pred"], folder / case["gt"])
        for run in case["runs"]:
            asked = run["params"]
            thresholds = Thresholds(asked["min_volume"], asked["alpha"], asked["beta"], asked["gamma"])
            ours = evaluate_pair(prediction.data, truth.data, truth.spacing_mm, thresholds).measures
            del ours["SurfaceDistance"]  # the true mean; the tool prints its own variant under this name
            ours["SurfaceDistance"] = ours.pop("SurfaceDistanceAnima")
            printed = {name: f"{value:.6f}" for name, value in ours.items()}
            expected = {name: "nan" for name in MEASURES if name != "SurfaceDistanceAnima"}
            expected |= {name: f"{float(value):.6f}" for name, value in run["measures"].items()}
            assert printed == expected, (case["name"], run["flags"])
            runs += 1
    assert runs == 51
