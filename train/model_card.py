"""The facts in the model card: each stands in the manifest, and a command copies it between two marks of the card.

What stands outside the marks is written by hand. `train.export` and `train.validate --record` refresh the card beside
the manifest; a test tells when the two differ.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lesionwise.challenge_layout import GROUND_TRUTH
from lesionwise.errors import InputError
from lesionwise.files import Writer, text_writer, write_whole
from lesionwise.weights import MANIFEST

CARD = "README.md"
MEASURES = {"F1_score": "lesion F1", "Dice": "Dice", "SensL": "SensL", "PPVL": "PPVL"}
"""The measures that a manifest states, by the evaluator's names, and what the card calls them.

A patient without new lesions has none of them; the mean is over those that have it.
"""
COUNTS = {"lesions": "lesions found", "false_lesions": "false ones", "false_mm3": "mm3 of them"}
"""What a manifest states of every patient besides, since the rows of earlier ones had only measures."""
REVIEWED = "reviewed_findings.csv"
"""The table of findings beside the weights, see `train.reviewed_findings`."""

FACTS = {
    "training_data": "a list of objects with name and licence",
    "training": "an object with command",
    "commit": "a text",
}
"""What a manifest states in its author's words, for the card, and in which form."""


def check_facts(manifest: Any, file: Path) -> None:
    """Check the facts in a manifest, or a file with them alone, before anything is written beside it.

    Raises:
        InputError: they are not in the form that the card needs, see FACTS.
    """
    match manifest:
        case {
            "training_data": list(sources),
            "training": {"command": str()},
            "commit": str(),
        } if all(_is_source(source) for source in sources):
            return
    form = ", ".join(f"{name} ({what})" for name, what in FACTS.items())
    raise InputError(f"{file}: the facts in it need {form}")


def _is_source(source: Any) -> bool:
    match source:
        case {"name": str(), "licence": str()}:
            cite = source.get("cite", [])
            return isinstance(cite, list) and all(isinstance(paper, str) for paper in cite)
    return False


def with_facts(card: str, manifest: Mapping[str, Any]) -> str:
    """Return the card with what the manifest says between its marks `<!-- NAME -->` and `<!-- end of NAME -->`.

    Raises:
        InputError: the card lacks a mark.
    """
    for name, text in _SECTIONS.items():
        start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        if card.count(start) != 1 or card.count(end) != 1:
            raise InputError(f"the model card needs the lines {start} and {end}, once each; put them in")
        before, after = card.split(start)[0], card.split(end)[1]
        card = f"{before}{start}\n{text(manifest)}\n{end}{after}"
    return card


def refresh(folder: Path) -> None:
    """Bring the card of a folder of weights up to date with the manifest there; without a card do nothing."""
    write_whole(_fresh_card(folder))


def check_card(folder: Path) -> None:
    """Raise InputError where `refresh` would: for who is to change the manifest there after longer work."""
    _fresh_card(folder)


def _fresh_card(folder: Path) -> dict[Path, Writer]:
    card, file = folder / CARD, folder / MANIFEST
    if not card.is_file():
        return {}
    manifest = json.loads(file.read_text())
    check_facts(manifest, file)
    return {card: text_writer(with_facts(card.read_text(), manifest))}


def _network(manifest: Mapping[str, Any]) -> str:
    architecture = manifest["architecture"]
    return (
        f"`{manifest['file']}`, sha256 `{manifest['sha256']}`: the published 3D U-Net of width {architecture['width']}, "
        f"stored in float16. A voxel is lesion above {manifest['threshold']:g}; the mean log odds of "
        f"a lesion's voxels must exceed those of {manifest['certainty']:g}."
    )


def _scores(manifest: Mapping[str, Any]) -> str:
    validation = manifest.get("validation")
    if not validation:
        return "Not measured yet."
    truth, window = validation["reference"], validation["window"]
    patients = [name for name in validation["scores"] if name != "mean"]
    options = f" --truth {truth}" * (truth != GROUND_TRUTH) + f" --window {window}" * (window is not None)
    reviewed, swapped = validation.get("reviewed"), validation.get("swapped")
    options += f" --reviewed weights/{REVIEWED}" * bool(reviewed)
    options += f" --precision {validation['precision']}" + " --swapped" * bool(swapped) + " --record"
    lines = [
        f"    python -m train.validate {' '.join(f'PAIRS/{name}' for name in patients)}{options}",
        "",
        *_table(validation["scores"]),
    ]
    if reviewed:
        words = f"Findings that are new to the eye and in no mask (`{REVIEWED}`) not counted as false:"
        lines += ["", words, "", *_table(reviewed)]
    if swapped:
        lines += ["", "The times swapped, against what became darker:", "", *_table(swapped)]
    return "\n".join(lines)


def _table(scores: Mapping[str, Mapping[str, float]]) -> list[str]:
    columns = MEASURES | {
        name: title for name, title in COUNTS.items() if any(name in row for row in scores.values())
    }
    rows = [
        f"| {case} | " + " | ".join(_cell(name, row) for name in columns) + " |"
        for case, row in scores.items()
    ]
    return ["| | " + " | ".join(columns.values()) + " |", "|---" * (len(columns) + 1) + "|", *rows]


def _cell(name: str, row: Mapping[str, float]) -> str:
    if name not in row:
        return ""
    return f"{row[name]:g}" if name in COUNTS else f"{row[name]:.3f}"


def _sources(manifest: Mapping[str, Any]) -> str:
    rows = []
    for source in manifest["training_data"]:
        cite = f" ({'; '.join(source['cite'])})" if "cite" in source else ""
        rows.append(f"| {source['name']}{cite} | {source['licence']} |")
    return "\n".join(["| source | licence |", "|---|---|", *rows])


def _training(manifest: Mapping[str, Any]) -> str:
    training = {"commit": manifest["commit"], **manifest["training"]}
    rows = [
        f"| {name.replace('_', ' ')} | {value} |" for name, value in training.items() if name != "command"
    ]
    return "\n".join([f"    {training['command']}", "", "| | |", "|---|---|", *rows])


_SECTIONS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "network": _network,
    "scores": _scores,
    "sources": _sources,
    "training": _training,
}
