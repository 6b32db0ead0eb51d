"""The ablation: the same data, seeds, patches and budget, four losses.

    python -m train.ablation run --recipe train/recipes/ablation.toml --output runs/ablation --metric-network RUN
    python -m train.ablation report runs/ablation

`run` trains each arm with each seed (complete ones are skipped), and scores it on the fixed held-out cases. `report` writes
`train/ABLATION.md` and its plot from what was logged.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import click
import numpy as np

from train.ablation_cases import Scores, kept_cases, score
from train.commandline import training_command
from train.loop import read_log
from train.segmentation.options import Options, segmentation_options
from train.segmentation.stages import load_network
from train.segmentation.training import train
from train.sources import EXISTING

TOLD = (
    "width",
    "patch",
    "batch",
    "steps",
    "minutes",
    "dropout",
    "cross_entropy",
    "rate",
    "schedule",
    "iqda",
)
"""Settings of the runs that the page states."""

ARMS: dict[str, dict[str, Any]] = {
    "Dice": {"lesion_loss": "none"},
    "Dice + 0.2 metric network": {"lesion_loss": "metric-network", "alpha": 0.2},
    # Twice the voxel-wise loss plus the blob loss, as published.
    "Dice + blob": {"lesion_loss": "blob", "alpha": 0.5},
    "Dice + CC-Dice": {"lesion_loss": "cc", "alpha": 1.0},
}
SCORES, SETTINGS = "scores.json", "settings.json"
REPORT = Path(__file__).with_name("ABLATION.md")
PLOT = Path(__file__).with_name("ablation.png")

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


@click.group()
def main() -> None:
    """Run the ablation, or report it."""


@training_command("ablation")
@click.option("--arm", "arms", multiple=True, type=click.Choice(list(ARMS)), help="Only these arms.")
@click.option("--seeds", default=3, show_default=True, help="Trainings of each arm.")
@click.option(
    "--cases", default=40, show_default=True, help="Synthetic held-out cases; half without new lesions."
)
@click.option("--pairs", type=EXISTING, help="Folder of real validation pairs.")
@segmentation_options
def run(arms: Sequence[str], seeds: int, cases: int, pairs: Path | None, **shared: Any) -> None:
    """Train and score every arm with every seed; seed by seed, so that an interrupted ablation has whole seeds."""
    options = Options(**shared)
    for seed in range(1, seeds + 1):
        for arm in arms or ARMS:
            folder = options.output / f"{arm.replace(' ', '_')}-seed{seed}"
            if not (folder / SCORES).is_file():
                click.echo(f"{arm}, seed {seed}")
                own = Options(**{**vars(options), **ARMS[arm], "seed": seed, "output": folder})
                train(own)
                _score(folder, arm, own, cases, pairs)


main.add_command(run)


def _score(folder: Path, arm: str, options: Options, count: int, pairs: Path | None) -> None:
    from train.sources import open_sources

    sources = open_sources(options.backgrounds, options.shapes, None, None, 0, 0.0)
    files = kept_cases(options.output.parent / "cases", count, sources.backgrounds, sources.shapes, pairs)
    network = load_network(folder)
    scores = {name: score(network, file, options.threads) for name, file in files.items()}
    settings = {name: value for name, value in asdict(options).items() if not isinstance(value, Path | tuple)}
    (folder / SETTINGS).write_text(json.dumps({"arm": arm, **settings}, indent=1) + "\n")
    (folder / SCORES).write_text(json.dumps(scores, indent=1) + "\n")


@main.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--report", default=REPORT, type=click.Path(path_type=Path), help="The Markdown file to write.")
@click.option("--plot", "plot_file", default=PLOT, type=click.Path(path_type=Path), help="The PNG to write.")
def report(folder: Path, report: Path, plot_file: Path) -> None:
    """Write the table and the plot from the runs in FOLDER."""
    runs = sorted(file.parent for file in folder.glob(f"*/{SCORES}"))
    if not runs:
        raise click.ClickException(f"{folder}: no scored run is in it; run the ablation first")
    by_arm: dict[str, list[Path]] = {arm: [] for arm in ARMS}
    for path in runs:
        by_arm[json.loads((path / SETTINGS).read_text())["arm"]].append(path)
    by_arm = {arm: paths for arm, paths in by_arm.items() if paths}
    report.write_text(_text(by_arm, plot_file.name))
    plot(by_arm, plot_file)
    click.echo(report.read_text())


def means(scores: dict[str, Scores]) -> dict[str, float]:
    """Return the columns of the table for one run: each measure's mean over the cases that have it, nan if none has."""
    values = {}
    for column, (measure, kind) in COLUMNS.items():
        found = [s[measure] for name, s in scores.items() if name.startswith(kind) and measure in s]
        values[column] = float(np.mean(found)) if found else float("nan")
    return values


def summary(by_arm: dict[str, list[Path]]) -> dict[str, dict[str, tuple[float, float]]]:
    """Return mean and standard deviation (n - 1) over the seeds of each arm's columns."""
    result = {}
    for arm, paths in by_arm.items():
        rows = [means(json.loads((path / SCORES).read_text())) for path in paths]
        result[arm] = {
            column: (
                float(np.mean([row[column] for row in rows])),
                float(np.std([row[column] for row in rows], ddof=1)) if len(rows) > 1 else float("nan"),
            )
            for column in COLUMNS
        }
    return result


def _text(by_arm: dict[str, list[Path]], plot_name: str) -> str:
    first = next(iter(by_arm.values()))[0]
    settings, scores = (json.loads((first / file).read_text()) for file in (SETTINGS, SCORES))
    unlike = [f.name for f in fields(Options) if len(_values(by_arm, f.name)) > 1]
    without = sum("NbTestedLesions" in s for s in scores.values())
    synthetic = sum(name.startswith("synthetic") for name in scores)
    lines = [
        "# Ablation: which lesion-wise loss helps",
        "",
        "Written by `python -m train.ablation report` from the logged runs.",
        "",
        f"Settings of all runs: {', '.join(f'{name} {settings[name]}' for name in TOLD)}. "
        f"Different between them: {', '.join(unlike)}.",
        "",
        f"{synthetic} synthetic held-out cases, {without} of them without new lesions (false lesions are theirs; the other "
        f"columns are the means over the cases with some), {len(scores) - synthetic} real validation pairs. "
        "Threshold 0.5. Mean and standard deviation over the seeds.",
        "",
        "| arm | seeds | " + " | ".join(COLUMNS) + " |",
        "|---" * (len(COLUMNS) + 2) + "|",
    ]
    for arm, columns in summary(by_arm).items():
        cells = [f"{mean:.3f} ± {spread:.3f}" for mean, spread in columns.values()]
        lines.append(f"| {arm} | {len(by_arm[arm])} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", f"![Scores and courses of the runs]({plot_name})", ""])


def _values(by_arm: dict[str, list[Path]], name: str) -> set[str]:
    paths = [path for group in by_arm.values() for path in group]
    return {str(json.loads((path / SETTINGS).read_text()).get(name)) for path in paths}


def plot(by_arm: dict[str, list[Path]], file: Path) -> None:
    """Write the plot: each run's scores by arm, and the course of the true F1 on the validation patches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.4), layout="constrained")
    panels = figure.subplots(1, 3)
    for number, (arm, paths) in enumerate(by_arm.items()):
        rows = [means(json.loads((path / SCORES).read_text())) for path in paths]
        for axes, column in zip(panels, ("lesion F1", "false lesions"), strict=False):
            axes.scatter([number] * len(rows), [row[column] for row in rows], label=arm)
            axes.set(title=f"{column}, synthetic cases", xticks=[])
        for path in paths:
            lines = [line for line in read_log(path) if "validation/f1" in line]
            panels[2].plot(
                [line["step"] for line in lines],
                [line["validation/f1"] for line in lines],
                color=f"C{number}",
                linewidth=1,
            )
    panels[0].legend(fontsize="small")
    panels[2].set(title="lesion F1, validation patches", xlabel="step")
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main()
