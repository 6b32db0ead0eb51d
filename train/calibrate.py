"""Make probabilities what they say: a temperature for voxels and a confidence for lesions, from synthetic validation.

    python -m train.calibrate SCORES.json [--plot reliability.png] [--manifest weights/manifest.json]

SCORES.json is what `train.synthetic_validation --json` wrote for weights whose manifest states no temperature yet.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from scipy import optimize

from lesionwise.calibration import LesionConfidence, features, tempered
from lesionwise.errors import UsageError
from lesionwise.files import json_writer, write_whole
from lesionwise.lesions import OperatingPoint
from train.checkpoints import reading
from train.commandline import OneLineErrors
from train.model_card import check_card, refresh
from train.synthetic_validation import LOGIT_EDGES, label

LOGITS = (LOGIT_EDGES[:-1] + LOGIT_EDGES[1:]) / 2
FEWEST_LESIONS = 20
HIGHEST = 1 - 1e-6
"""What an operating point may reach: a temperature below 1 can move a probability so near to 1 that it is stored as 1."""


class Scores(NamedTuple):
    """What was scored: how many cases, their voxels (2, n), counted by logit, false and true, and the lesions found.

    `points`: the operating points of those lesions, in words; one, unless several scorings are mixed.
    """

    cases: int
    voxels: np.ndarray
    lesions: list[Mapping[str, Any]]
    points: set[str]


def read_scores(file: Path) -> Scores:
    """Return the scores in a file.

    Raises:
        InputError: it is not what `train.synthetic_validation --json` writes.
    """
    with reading(file, "scores", "name what train.synthetic_validation --json wrote"):
        cases = json.loads(file.read_text()).values()
        voxels = np.sum([case["voxels"] for case in cases], axis=0).reshape(2, len(LOGITS))
        lesions = [found for case in cases for found in case["lesions"]]
        if any(len(x["voxels"]) != len(LOGITS) or not x["volume_mm3"] > 0 for x in lesions):
            raise ValueError("lesions without their voxels or their volume")
        points = {next(iter(case["measures"]), "no operating point") for case in cases}
    return Scores(len(cases), voxels, lesions, points)


def uncalibrated(file: Path) -> dict[str, Any]:
    """Return a manifest that states an operating point and no temperature yet.

    Raises:
        InputError: it is none.
        UsageError: it states a temperature.
    """
    with reading(file, "manifest of weights", "name the manifest.json that train.export wrote"):
        stated: dict[str, Any] = json.loads(file.read_text())
        OperatingPoint(stated["threshold"], stated["certainty"])
        is_calibrated = stated.get("temperature", 1.0) != 1.0
    if is_calibrated:
        raise UsageError(f"{file}: it states a temperature already; score weights without one")
    return stated


def fitted_temperature(voxels: np.ndarray) -> float:
    """Return the temperature with the least log loss, between 0.2 and 5; `voxels` (2, n): counts by logit, false and true."""

    def loss(temperature: float) -> float:
        scaled = LOGITS / temperature
        return float(voxels[0] @ np.logaddexp(0, scaled) + voxels[1] @ np.logaddexp(0, -scaled))

    return float(optimize.minimize_scalar(loss, bounds=(0.2, 5.0), method="bounded").x)


def mean_probability(voxels: Sequence[int], temperature: float) -> float:
    """Return the mean probability, after the temperature, of voxels (n) that were counted by logit."""
    return float(np.average(1 / (1 + np.exp(-LOGITS / temperature)), weights=voxels))


def fitted_confidence(lesions: list[Mapping[str, Any]], temperature: float) -> dict[str, float]:
    """Return what a manifest states as `lesion_confidence`: a logistic regression with a slight pull of its slopes to 0.

    `segment` asks for the confidence of a lesion with the probabilities that it writes: those after the temperature.
    """
    means = [mean_probability(found["voxels"], temperature) for found in lesions]
    x = np.array(
        [(1.0, *features(found["volume_mm3"], mean)) for found, mean in zip(lesions, means, strict=True)]
    )
    y = np.array([found["confirmed"] for found in lesions], dtype=float)

    def loss(weights: np.ndarray) -> float:
        score = x @ weights
        return float((np.logaddexp(0, score) - y * score).sum() + 0.5 * (weights[1:] ** 2).sum())

    intercept, per_log_mm3, per_logit = (float(w) for w in optimize.minimize(loss, np.zeros(3)).x)
    return {"intercept": intercept, "per_log_mm3": per_log_mm3, "per_logit": per_logit}


def by_confidence(lesions: list[Mapping[str, Any]], found: Mapping[str, Any], groups: int = 5) -> str:
    """Return how many lesions are true by how sure it is that they are: groups of equal size, the least sure first."""
    confidence = LesionConfidence.of(found)
    assert confidence is not None
    said = np.array(
        [confidence(x["volume_mm3"], mean_probability(x["voxels"], found["temperature"])) for x in lesions]
    )
    true = np.array([x["confirmed"] for x in lesions])
    parts = np.array_split(np.argsort(said, kind="stable"), groups)
    return "confidence said, share confirmed: " + ", ".join(
        f"{said[part].mean():.2f} {true[part].mean():.2f}" for part in parts
    )


def reliability_plot(voxels: np.ndarray, temperature: float, file: Path) -> None:
    """Write how often voxels are lesion by what the network says, before and after the temperature."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, scale in (("as trained", 1.0), (f"temperature {temperature:.2f}", temperature)):
        p = 1 / (1 + np.exp(-LOGITS / scale))
        bins = np.minimum((p * 10).astype(int), 9)
        total = np.bincount(bins, voxels.sum(0), 10)
        said = np.bincount(bins, voxels.sum(0) * p, 10) / np.maximum(total, 1)
        true = np.bincount(bins, voxels[1], 10) / np.maximum(total, 1)
        axes.plot(said[total > 0], true[total > 0], "o-", label=name)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    axes.set(xlabel="probability said", ylabel="share that is lesion", title="voxels, synthetic validation")
    axes.legend()
    figure.savefig(file, dpi=110)


@click.command(cls=OneLineErrors)
@click.argument("scores", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--plot", type=click.Path(path_type=Path), help="The reliability plot to write (PNG).")
@click.option(
    "--manifest",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Write temperature, the operating point moved alike, and confidence into this manifest.",
)
def main(scores: Path, plot: Path | None, manifest: Path | None) -> None:
    """Fit a temperature and the confidence of lesions to SCORES."""
    stated = None
    if manifest is not None:
        stated = uncalibrated(manifest)
        check_card(manifest.parent)
    cases, voxels, lesions, points = read_scores(scores)
    if stated:
        wanted = label(OperatingPoint(stated["threshold"], stated["certainty"]))
        if points != {wanted}:
            raise UsageError(
                f"{scores}: its lesions are of {' and '.join(sorted(points))}, the manifest states {wanted}; "
                "score with --threshold and --certainty as it states"
            )
    found: dict[str, Any] = {"temperature": round(fitted_temperature(voxels), 3)}
    if len(lesions) >= FEWEST_LESIONS:
        found["lesion_confidence"] = fitted_confidence(lesions, found["temperature"])
    click.echo(f"{json.dumps(found)}  ({cases} cases, {len(lesions)} lesions found)")
    if "lesion_confidence" in found:
        click.echo(by_confidence(lesions, found))
    if plot:
        reliability_plot(voxels, found["temperature"], plot)
    if manifest and stated:
        point = tempered(np.array([stated["threshold"], stated["certainty"]]), found["temperature"])
        threshold, certainty = (min(round(float(p), 6), HIGHEST) for p in point)
        stated |= {**found, "threshold": threshold, "certainty": certainty}
        write_whole({manifest: json_writer(stated)})
        refresh(manifest.parent)


if __name__ == "__main__":
    main()
