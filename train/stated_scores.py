"""What a manifest states of the scores of its weights: stored, read back, and compared with what is measured.

The manifest's entry `validation` is a `Validation`; the model card beside it shows the same (`train.model_card`).
"""

import json
import statistics
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from lesionwise.errors import InputError
from lesionwise.files import json_writer, write_whole
from lesionwise.weights import MANIFEST
from train.model_card import CARD, MEASURES, refresh, with_facts

Scores = dict[str, dict[str, float]]
"""A row of measures for each patient, and one for their mean."""

TOLERANCE = {"F1_score": 0.05, "Dice": 0.05}
"""How far a measure may lie from what is stated: processors round differently, a lesion at the threshold comes or goes."""


class Validation(TypedDict):
    """The entry `validation` of a manifest; an empty one says that nothing was measured.

    `reference` is the truth's name beside the scans; `window` the edge of the network's windows in mm, None for the whole
    brain at once; `scores` has a row of `MEASURES` for each patient, by the name of its folder, and one for their "mean";
    `swapped`, where it was measured, the same with the times in the other order, against what became darker; `reviewed` the
    scores where reviewed findings do not count as false.
    """

    reference: str
    window: int | None
    precision: str
    scores: Scores
    swapped: NotRequired[Scores]
    reviewed: NotRequired[Scores]


def with_mean(scores: Scores) -> Scores:
    """Return the rows and their mean."""
    mean = {name: round(statistics.fmean(row[name] for row in scores.values()), 4) for name in MEASURES}
    return {**scores, "mean": mean}


def record(folder: Path, validation: Validation) -> None:
    """Put what was measured into the manifest of a folder of weights, and into the model card beside it."""
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    write_whole({folder / MANIFEST: json_writer({**manifest, "validation": validation})})
    refresh(folder)


def stated_validation(folder: Path) -> Validation:
    """Return what the manifest of a folder of weights states.

    Raises:
        InputError: it states nothing that can be measured again, or the model card states something else.
    """
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    validation: Validation = manifest.get("validation", {})
    if not Validation.__required_keys__ <= validation.keys():
        raise InputError(
            f"{folder / MANIFEST}: no scores that can be measured again; run train.validate --record first"
        )
    card = folder / CARD
    if card.is_file() and card.read_text() != with_facts(card.read_text(), manifest):
        raise InputError(f"{card}: its facts are not those of the manifest; run train.validate --record")
    return validation


def all_differences(measured: Validation, stated: Validation) -> list[str]:
    """Return the `differences` of the scores, and of the swapped and the reviewed ones where they were measured."""
    words = differences(measured["scores"], stated["scores"])
    for name in ("swapped", "reviewed"):
        if name in measured:
            words += [f"{name} {line}" for line in differences(measured[name], stated.get(name, {}))]
    return words


def differences(measured: Scores, stated: Scores) -> list[str]:
    """Return in words where `measured` is further than `TOLERANCE` from `stated`, or lacks a row, or has one more."""
    words = [f"{name}: only in one of the two" for name in sorted(measured.keys() ^ stated.keys())]
    for name in sorted(measured.keys() & stated.keys()):
        for measure, tolerance in TOLERANCE.items():
            is_, should_be = measured[name][measure], stated[name][measure]
            if not abs(is_ - should_be) <= tolerance:  # written so that NaN differs
                words.append(f"{name}: {measure} {is_:.3f}, stated is {should_be:.3f}")
    return words
