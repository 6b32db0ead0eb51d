"""The page of the ablation, from its logged runs: a table with means and spreads, a plot, and what the runs were."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import numpy as np
from scipy import ndimage

from train.ablation_cases import BLOCK_MM, Scores
from train.run_log import read_log
from train.segmentation.options import Options

TOLD = (
    "width",
    "patch",
    "batch",
    "steps",
    "dropout",
    "cross_entropy",
    "rate",
    "schedule",
    "average",
    "iqda",
)
"""Settings of the runs that the page states."""

SCORES, SETTINGS = "scores.json", "settings.json"
REPORT = Path(__file__).with_name("ABLATION.md")
PLOT = Path(__file__).with_name("ablation.png")
END = "<!-- end of what the command writes -->"
"""What is written below it, by hand, is kept."""

COLUMNS = {
    "lesion F1": ("F1_score", "synthetic"),
    "SensL": ("SensL", "synthetic"),
    "PPVL": ("PPVL", "synthetic"),
    "Dice": ("Dice", "synthetic"),
    "false lesions": ("NbTestedLesions", "synthetic"),
    "false mm3": ("VolTestedLesions", "synthetic"),
    "lesion F1, real pairs": ("F1_score", "pair"),
    "Dice, real pairs": ("Dice", "pair"),
}
"""Each column's measure, and the cases that it is the mean over: those that have it, the Tested ones without new lesions."""

SMOOTHED_OVER = 5  # lines of a log

Runs = Mapping[str, Sequence[Path]]


def write_report(folder: Path, order: Sequence[str], report: Path, plot_file: Path) -> str:
    """Write the page and its plot from the scored runs in a folder, the arms in an order; return the page.

    Raises:
        ClickException: the folder holds no scored training, or runs that were scored on different cases.
    """
    runs = sorted(file.parent for file in folder.glob(f"*/{SCORES}"))
    if not runs:
        raise click.ClickException(f"{folder}: no scored run is in it; run the ablation first")
    found: dict[str, list[Path]] = {arm: [] for arm in order}
    for path in runs:
        found[_settings(path)["arm"]].append(path)
    if len({tuple(_scores(path)) for path in runs}) > 1:
        raise click.ClickException(f"{folder}: not all runs were scored on the same cases; score them again")
    by_arm = {arm: paths for arm, paths in found.items() if paths}
    below = report.read_text().partition(END)[2] if report.is_file() else "\n"
    text = _text(by_arm, plot_file.name) + below
    plot(by_arm, plot_file)
    report.write_text(text)
    return text


def means(scores: Mapping[str, Scores]) -> dict[str, float]:
    """Return the columns of the table for one run: each measure's mean over the cases that have it, nan if none has."""
    values = {}
    for column, (measure, kind) in COLUMNS.items():
        found = [s[measure] for name, s in scores.items() if name.startswith(kind) and measure in s]
        values[column] = float(np.mean(found)) if found else float("nan")
    return values


def summary(by_arm: Runs) -> dict[str, dict[str, tuple[float, float]]]:
    """Return mean and standard deviation (n - 1, nan for one run) over the seeds of each arm's columns."""
    result = {}
    for arm, paths in by_arm.items():
        rows = [means(_scores(path)) for path in paths]
        result[arm] = {
            column: (
                float(np.mean([row[column] for row in rows])),
                float(np.std([row[column] for row in rows], ddof=1)) if len(rows) > 1 else float("nan"),
            )
            for column in COLUMNS
        }
    return result


def plot(by_arm: Runs, file: Path) -> None:
    """Write the plot: each run's scores by arm, and the course of 1 - Dice on the patches, which all arms share."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.4), layout="constrained")
    panels = figure.subplots(1, 3)
    for number, (arm, paths) in enumerate(by_arm.items()):
        rows = [means(_scores(path)) for path in paths]
        for axes, column in zip(panels, ("lesion F1", "false lesions"), strict=False):
            axes.scatter([number] * len(rows), [row[column] for row in rows], label=arm)
            axes.set(title=f"{column}, synthetic cases", xticks=[])
        for path in paths:
            lines = [line for line in read_log(path) if "dice_loss" in line]
            if lines:  # the start of all was not trained
                losses = ndimage.uniform_filter1d([line["dice_loss"] for line in lines], SMOOTHED_OVER)
                panels[2].plot([line["step"] for line in lines], losses, color=f"C{number}")
    panels[0].legend(fontsize="small")
    panels[2].set(title="1 - Dice, training patches", xlabel="step")
    figure.savefig(file, dpi=100)


def _text(by_arm: Runs, plot_name: str) -> str:
    trained = [path for paths in by_arm.values() for path in paths if read_log(path)]
    if not trained:
        raise click.ClickException("only the start of all is scored; run the ablation on")
    settings, scores = _settings(trained[0]), _scores(trained[0])
    unlike = [
        field.name
        for field in fields(Options)
        if len({str(_settings(p).get(field.name)) for p in trained}) > 1
    ]
    without = sum("NbTestedLesions" in s for s in scores.values())
    synthetic = sum(name.startswith("synthetic") for name in scores)
    lines = [
        "# Ablation: which lesion-wise loss helps",
        "",
        "Written by `python -m train.ablation report` from the logged runs.",
        "",
        f"Settings of all trainings: {', '.join(f'{name} {settings[name]}' for name in TOLD)}. "
        f"Different between them: {', '.join(unlike)}. Trainings of one seed saw the same patches in the same order.",
        "",
        f"{synthetic} synthetic held-out cases, {without} of them without new lesions (false lesions are theirs; the other "
        f"columns are the means over the cases with some), a block of {BLOCK_MM} mm of each; {len(scores) - synthetic} real "
        "validation pairs, whole. Threshold 0.5. Mean and standard deviation over the seeds.",
        "",
        "| arm | seeds | " + " | ".join(COLUMNS) + " |",
        "|---" * (len(COLUMNS) + 2) + "|",
    ]
    for arm, columns in summary(by_arm).items():
        cells = [_cell(mean, spread) for mean, spread in columns.values()]
        lines.append(f"| {arm} | {len(by_arm[arm])} | " + " | ".join(cells) + " |")
    lines += ["", f"![Scores and courses of the runs]({plot_name})", "", END]
    return "\n".join(lines)


def _cell(mean: float, spread: float) -> str:
    return f"{mean:.3f}" if np.isnan(spread) else f"{mean:.3f} ± {spread:.3f}"


def _settings(run: Path) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads((run / SETTINGS).read_text())
    return settings


def _scores(run: Path) -> dict[str, Scores]:
    scores: dict[str, Scores] = json.loads((run / SCORES).read_text())
    return scores
