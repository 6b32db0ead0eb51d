"""The shipped weights on the real pairs, with the whole program: they score what the manifest and the card state."""

import json
from pathlib import Path
from typing import Any

import pytest

from lesionwise.engine import Settings
from lesionwise.inference import Windows
from lesionwise.weights import REPOSITORY_FOLDER
from train.model_card import CARD, with_facts
from train.stated_scores import differences, with_mean
from train.validate import validate

PATIENTS = ("patient01", "patient19")
MANIFEST: dict[str, Any] = json.loads((REPOSITORY_FOLDER / "manifest.json").read_text())


def test_the_model_card_states_the_facts_of_the_manifest() -> None:
    card = (REPOSITORY_FOLDER / CARD).read_text()
    assert card == with_facts(card, MANIFEST)


def test_the_manifest_states_scores_of_both_pairs_and_their_mean() -> None:
    scores = MANIFEST["validation"]["scores"]
    assert scores.keys() == {*PATIENTS, "mean"}
    mean = with_mean({patient: scores[patient] for patient in PATIENTS})["mean"]
    assert scores["mean"] == pytest.approx(mean, abs=1e-4)  # its rows are rounded


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("patient", PATIENTS)
def test_real_pairs_score_what_the_manifest_states(shared: Path, tmp_path: Path, patient: str) -> None:
    stated = MANIFEST["validation"]
    settings = Settings(windows=Windows(stated["window"]), precision=stated["precision"], threads=0)
    folder = shared / "data" / "ljubljana" / "pairs" / patient
    scores = validate(folder, stated["reference"], settings, tmp_path)
    assert differences({patient: scores}, {patient: stated["scores"][patient]}) == []
