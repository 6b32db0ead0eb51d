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
from train.checkpoints import reading
from train.model_card import CARD, COUNTS, MEASURES, refresh, with_facts

Scores = dict[str, dict[str, float]]
"""A row of measures and counts for each patient, those that it has, and one for their mean."""

MEAN = "mean"

TOLERANCE = dict.fromkeys(MEASURES, 0.05) | {"lesions": 1, "false_lesions": 1}
"""How far a measure may lie from what is stated: processors round differently, a lesion at the threshold comes or goes.

Their mm3 are not compared: such a lesion may have any.
"""
TOLERANCE_OF_MEAN = dict.fromkeys(MEASURES, 0.02) | {"lesions": 0.5, "false_lesions": 0.5}
"""The same for the mean over the patients, to which each brings its share."""


class Validation(TypedDict):
    """The entry `validation` of a manifest; an empty one says that nothing was measured.

    `reference` is the truth's name beside the scans; `window` the edge of the network's windows in mm, None for the whole
    brain at once; `scores` has a row of `MEASURES` and `COUNTS` for each patient, by the name of its folder, and one for their
    "mean"; `swapped`, where it was measured, the same with the times in the other order, against what became darker;
    `reviewed` the scores where reviewed findings do not count as false.
    """

    reference: str
    window: int | None
    precision: str
    scores: Scores
    swapped: NotRequired[Scores]
    reviewed: NotRequired[Scores]


def with_mean(scores: Scores) -> Scores:
    """Return the rows and their mean: of each measure over the rows that have it."""
    values = {name: [row[name] for row in scores.values() if name in row] for name in (*MEASURES, *COUNTS)}
    return {**scores, MEAN: {name: round(statistics.fmean(v), 4) for name, v in values.items() if v}}


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
    with reading(folder / MANIFEST, "manifest", "get the weights again"):
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
    """Return the `differences` of the scores, and of the swapped and the reviewed ones where either side has them."""
    words = differences(measured["scores"], stated["scores"])
    swapped = differences(measured.get("swapped", {}), stated.get("swapped", {}))
    reviewed = differences(measured.get("reviewed", {}), stated.get("reviewed", {}))
    return [*words, *(f"swapped {line}" for line in swapped), *(f"reviewed {line}" for line in reviewed)]


def differences(measured: Scores, stated: Scores) -> list[str]:
    """Return in words where `measured` is further from `stated` than the tolerances, or lacks a row, or has one more.

    A count is compared where it is stated: earlier manifests state none.
    """
    words = [f"{name}: only in one of the two" for name in sorted(measured.keys() ^ stated.keys())]
    for name in sorted(measured.keys() & stated.keys()):
        for measure, tolerance in (TOLERANCE_OF_MEAN if name == MEAN else TOLERANCE).items():
            is_, should_be = measured[name].get(measure), stated[name].get(measure)
            if should_be is None and (is_ is None or measure in COUNTS):
                continue
            if is_ is None or should_be is None:
                words.append(f"{name}: {measure} only in one of the two")
            elif not abs(is_ - should_be) <= tolerance:  # written so that NaN differs
                words.append(f"{name}: {measure} {is_:.3f}, stated is {should_be:.3f}")
    return words
