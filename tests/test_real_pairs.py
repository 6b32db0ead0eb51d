"""The shipped weights on the two real pairs, with the whole program: they score what the manifest states."""

import json
from pathlib import Path

import pytest

from lesionwise.engine import Settings
from lesionwise.evaluation_files import evaluate_files
from lesionwise.inference import Windows
from lesionwise.pipeline import Case, segment_case
from lesionwise.progress import Lines, Progress
from lesionwise.weights import REPOSITORY_FOLDER

PATIENTS = ("patient01", "patient19")
REFERENCE = "ground_truth_new_bright.nii.gz"
# Windows that do not overlap take a fraction of the time; the manifest states the scores of this setting.
OVERLAP = 0.0


@pytest.fixture(scope="module")
def scores(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    found = {}
    for patient in PATIENTS:
        folder = shared / "data" / "ljubljana" / "pairs" / patient
        output = tmp_path_factory.mktemp(patient) / "segmentation.nii.gz"
        case = Case(
            folder / "flair_time01_on_middle_space.nii.gz",
            folder / "flair_time02_on_middle_space.nii.gz",
            output,
        )
        segment_case(case, Settings(windows=Windows(64, OVERLAP), threads=0), Progress(Lines()))
        found[patient] = evaluate_files(output, folder / REFERENCE).measures
    return found


@pytest.mark.slow
@pytest.mark.shared
def test_real_pairs_score_what_the_manifest_states(scores: dict[str, dict[str, float]]) -> None:
    manifest = json.loads((REPOSITORY_FOLDER / "manifest.json").read_text())
    stated = manifest["validation"]["overlap_0"]
    for patient in PATIENTS:
        for measure in ("F1_score", "Dice"):
            # Processors round differently; a lesion at the threshold may come or go.
            assert scores[patient][measure] == pytest.approx(stated[patient][measure], abs=0.05), (
                patient,
                measure,
            )
