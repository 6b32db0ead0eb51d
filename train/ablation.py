"""The ablation: the same data, seeds, patches and budget, four losses.

    python -m train.ablation run --recipe train/recipes/ablation.toml --output runs/ablation --metric-network RUN
    python -m train.ablation report runs/ablation

`run` trains each arm with each seed (complete ones are skipped) and scores it on the fixed held-out cases; so it does with the
network that all start from, where there is one. `report` writes `train/ABLATION.md` and its plot from what was logged.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import click

from train.ablation_cases import held_out_cases, score
from train.ablation_report import PLOT, REPORT, SCORES, SETTINGS, write_report
from train.commandline import training_command
from train.patches import Batch
from train.predictor import open_predictor
from train.segmentation.options import Options, segmentation_options
from train.segmentation.training import draw_batches, train
from train.sources import EXISTING, FOLDER, open_sources

ARMS: dict[str, dict[str, Any]] = {
    "Dice": {"lesion_loss": "none"},
    "Dice + 0.2 metric network": {"lesion_loss": "metric-network", "alpha": 0.2},
    # Twice the voxel-wise loss plus the blob loss, as published.
    "Dice + blob": {"lesion_loss": "blob", "alpha": 0.5},
    "Dice + CC-Dice": {"lesion_loss": "cc", "alpha": 1.0},
}
START = "before, the start of all"


@click.group()
def main() -> None:
    """Run the ablation, or report it."""


@training_command("ablation")
@click.option("--arm", "arms", multiple=True, type=click.Choice(list(ARMS)), help="Only these arms.")
@click.option("--seeds", default=3, show_default=True, help="Trainings of each arm.")
@click.option("--cases", default=20, show_default=True, help="Synthetic held-out cases of either kind.")
@click.option("--cases-folder", type=FOLDER, help="Where they are kept.  [default: cases/ in OUTPUT]")
@click.option("--pairs", type=EXISTING, help="Folder of real validation pairs.")
@segmentation_options
def run(
    arms: Sequence[str], seeds: int, cases: int, cases_folder: Path | None, pairs: Path | None, **shared: Any
) -> None:
    """Train and score every arm with every seed; seed by seed, so that an interrupted ablation has whole seeds."""
    options = Options(**shared)
    kept = cases_folder or options.output / "cases"
    if options.initial:
        _score_once(options.output / "start", START, options, options.initial, cases, kept, pairs)
    for seed in range(1, seeds + 1):
        # Drawn when the first arm of a seed asks, and the same for all of them.
        batches: Callable[[], list[Batch]] = cache(
            lambda seed=seed: draw_batches(replace(options, seed=seed))
        )
        for arm in arms or ARMS:
            folder = options.output / f"{arm.replace(' ', '_')}-seed{seed}"
            if not (folder / SCORES).is_file():
                click.echo(f"{arm}, seed {seed}")
                own = replace(options, **ARMS[arm], seed=seed, output=folder)
                train(own, batches())
                _score_once(folder, arm, own, folder, cases, kept, pairs)


main.add_command(run)


def _score_once(
    folder: Path, arm: str, options: Options, network: Path, each: int, kept: Path, pairs: Path | None
) -> None:
    """Write the scores of a network and its settings into a folder that has none."""
    if (folder / SCORES).is_file():
        return
    sources = open_sources(options.backgrounds, options.shapes, None, None, 0, 0.0)
    predictor = open_predictor(network, None, False, options.threads, "cpu")
    cases = held_out_cases(kept, each, sources.backgrounds, sources.shapes, pairs)
    scores = {name: score(predictor, case) for name, case in cases}
    settings = {name: value for name, value in asdict(options).items() if not isinstance(value, Path | tuple)}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SETTINGS).write_text(json.dumps({"arm": arm, **settings}, indent=1) + "\n")
    (folder / SCORES).write_text(json.dumps(scores, indent=1) + "\n")


@main.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--report", default=REPORT, type=click.Path(path_type=Path), help="The Markdown file to write.")
@click.option("--plot", "plot_file", default=PLOT, type=click.Path(path_type=Path), help="The PNG to write.")
def report(folder: Path, report: Path, plot_file: Path) -> None:
    """Write the table and the plot from the runs in FOLDER."""
    click.echo(write_report(folder, [START, *ARMS], report, plot_file))


if __name__ == "__main__":
    main()
