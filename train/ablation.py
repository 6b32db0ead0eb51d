"""The ablation: the same data, seeds, patches and budget, four losses.

    python -m train.ablation run --recipe train/recipes/ablation.toml --output runs/ablation --metric-network RUN
    python -m train.ablation report runs/ablation

`run` trains each arm with each seed and scores it on the fixed held-out cases; so it does with the network that all start
from, where there is one. What is complete is skipped; what was begun with other settings is refused. `report` writes
`train/ABLATION.md` and its plot from what was logged.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from lesionwise.errors import UsageError
from lesionwise.files import json_writer, write_whole
from train.ablation_cases import held_out_cases, score
from train.ablation_report import PLOT, REPORT, SCORES, SETTINGS, write_report
from train.commandline import COUNT, OneLineGroup, refuse_what_has_no_effect, training_command
from train.patches import Batch
from train.predictor import open_predictor
from train.segmentation.options import Options, segmentation_options
from train.segmentation.training import draw_batches, train
from train.sources import EXISTING, FOLDER, needs_of_sources, open_sources

ARMS: dict[str, dict[str, Any]] = {
    "Dice": {"lesion_loss": "none"},
    "Dice + 0.2 metric network": {"lesion_loss": "metric-network", "alpha": 0.2},
    # Twice the voxel-wise loss plus the blob loss, as published.
    "Dice + blob": {"lesion_loss": "blob", "alpha": 0.5},
    "Dice + CC-Dice": {"lesion_loss": "cc", "alpha": 1.0},
}
START = "before, the start of all"
OF_THE_MACHINE = ("output", "threads", "device", "log_steps")
"""Settings that change nothing of a training, or little: one may go on with others."""
NETWORKS, MATERIAL = (".pt", ".safetensors"), (".npz", ".gz")
"""Ends of files that a fingerprint is made of: of networks, and of scans and lesion shapes."""


@click.group(cls=OneLineGroup)
def main() -> None:
    """Run the ablation, or report it."""


@training_command("ablation")
@click.option("--arm", "arms", multiple=True, type=click.Choice(list(ARMS)), help="Only these arms.")
@click.option("--seeds", default=3, show_default=True, type=COUNT, help="Trainings of each arm.")
@click.option(
    "--cases", default=20, show_default=True, type=COUNT, help="Synthetic held-out cases of either kind."
)
@click.option("--cases-folder", type=FOLDER, help="Where they are kept.  [default: cases/ in OUTPUT]")
@click.option("--pairs", type=EXISTING, help="Folder of real validation pairs.")
@segmentation_options("lesion_loss", "alpha", "seed", "shards")
def run(
    arms: Sequence[str], seeds: int, cases: int, cases_folder: Path | None, pairs: Path | None, **shared: Any
) -> None:
    """Train and score every arm with every seed; seed by seed, so that an interrupted ablation has whole seeds."""
    common = Options(**shared)
    refuse_what_has_no_effect(*needs_of_sources(common.data))
    if common.steps == Options.steps:
        raise UsageError(
            "the trainings share batches that are drawn beforehand; say with --steps for how many steps"
        )
    runs = [own_options(common, arm, seed) for seed in range(1, seeds + 1) for arm in arms or ARMS]
    needed = any(own.lesion_loss == "metric-network" for _, own in runs)
    if needed != (common.metric_network is not None):
        raise UsageError(
            "the arm with a metric network needs a trained one; name it with --metric-network"
            if needed
            else "--metric-network has no effect on these arms; leave it out"
        )
    for arm, own in runs:
        check_settings(own.output, told_settings(arm, own))
    kept = cases_folder or common.output / "cases"
    if common.initial:
        _score_once(common.output / "start", START, common, common.initial, cases, kept, pairs)
    batches: dict[int, list[Batch]] = {}  # of the present seed, the same for all of its arms
    for arm, own in runs:
        if (own.output / SCORES).is_file():
            continue
        click.echo(f"{arm}, seed {own.seed}")
        write_settings(own.output, told_settings(arm, own))
        if own.seed not in batches:
            batches = {own.seed: draw_batches(own)}
        train(own, batches[own.seed])
        _score_once(own.output, arm, own, own.output, cases, kept, pairs)


main.add_command(run)


def own_options(common: Options, arm: str, seed: int) -> tuple[str, Options]:
    """Return the arm and the options of its training with a seed."""
    own = replace(
        common, **ARMS[arm], seed=seed, output=common.output / f"{arm.replace(' ', '_')}-seed{seed}"
    )
    return arm, own if own.lesion_loss == "metric-network" else replace(own, metric_network=None)


def told_settings(arm: str, options: Options) -> dict[str, Any]:
    """Return what a training is made with, as it is kept beside its scores: networks by their bytes, no other paths."""
    values = {name: value for name, value in asdict(options).items() if not isinstance(value, Path | tuple)}
    for name in ("initial", "metric_network"):
        path: Path | None = getattr(options, name)
        values[name] = None if path is None else fingerprint(path)
    material = [*([options.backgrounds] if options.backgrounds else []), *options.shapes]
    values["material"] = [fingerprint(path, MATERIAL) for path in material]
    return {"arm": arm, **{name: value for name, value in values.items() if name not in OF_THE_MACHINE}}


def fingerprint(path: Path, suffixes: Sequence[str] = NETWORKS) -> str:
    """Return the first digits of the sha256 of a file, or of the files in a folder whose names end so."""
    files = sorted(f for f in path.iterdir() if f.suffix in suffixes) if path.is_dir() else [path]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def check_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Raise UsageError where a folder holds a training that was begun with other settings."""
    file = folder / SETTINGS
    if file.is_file():
        before = json.loads(file.read_text())
        for name in sorted(before.keys() & settings.keys()):
            if before[name] != settings[name]:
                raise UsageError(
                    f"{folder}: this training was begun with {name} {before[name]}, not {settings[name]}; "
                    "name another --output"
                )


def write_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Keep the settings of a training in its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole({folder / SETTINGS: json_writer(settings)})


def _score_once(
    folder: Path, arm: str, options: Options, network: Path, each: int, kept: Path, pairs: Path | None
) -> None:
    """Write the scores of a network and its settings into a folder that has none."""
    if (folder / SCORES).is_file():
        return
    sources = open_sources(options.backgrounds, options.shapes, None, None, 0, 0.0)
    predictor = open_predictor(network, None, False, options.threads, options.device)
    cases = held_out_cases(kept, each, sources.backgrounds, sources.shapes, pairs)
    scores = {name: score(predictor, case) for name, case in cases}
    write_settings(folder, told_settings(arm, options))
    write_whole({folder / SCORES: json_writer(scores)})


@main.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--report", default=REPORT, type=click.Path(path_type=Path), help="The Markdown file to write.")
@click.option("--plot", "plot_file", default=PLOT, type=click.Path(path_type=Path), help="The PNG to write.")
def report(folder: Path, report: Path, plot_file: Path) -> None:
    """Write the table and the plot from the runs in FOLDER."""
    click.echo(write_report(folder, [START, *ARMS], report, plot_file))


if __name__ == "__main__":
    main()
