"""Train the metric network: python -m train.metric_network --help."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from lesionwise.commands.options import NumberRange
from lesionwise.devices import choose_device, choose_precision
from lesionwise.errors import UsageError
from lesionwise.overlap import Mode
from train.commandline import (
    COUNT,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    WHOLE,
    refuse_what_has_no_effect,
    training_command,
)
from train.lesion_shapes import read_shapes
from train.loop import Averaged, Run, learning_rate
from train.metric_network.files import load_metric_network, save_metric_network
from train.metric_network.mask_pairs import MaskPairs, PairSettings, make_pair_loader
from train.metric_network.network import HEADS, Head, MetricNetwork
from train.metric_network.network_outputs import NetworkOutputs, left_for_training
from train.metric_network.real_masks import masks_of_folders, truths_of_patients
from train.metric_network.report import accuracy, measure, table, write_report
from train.metric_network.targets import DEFINITIONS
from train.metric_network.training import COUNTS_WEIGHT, metric_loss
from train.metric_network.walkers import Walkers
from train.sources import EXISTING, FOLDER, HeldOut, fold_option, needs_of_sources


@training_command("metric-network")
@click.option("--output", required=True, type=FOLDER, help="Folder of the run. Resumed if it is there.")
@click.option("--head", type=click.Choice(HEADS), default="compact", show_default=True)
@click.option("--patch", default=64, show_default=True, help="Edge of a patch in voxels.")
@click.option("--width", type=COUNT, help="Channels of the first layer [default: 10 published, 8 compact].")
@click.option(
    "--dropout",
    type=NumberRange(0, 1, max_open=True),
    default=0.1,
    show_default=True,
    help="Of the published head.",
)
@click.option("--definition", type=click.Choice(DEFINITIONS), default="organisers", show_default=True)
@click.option("--shapes", multiple=True, type=EXISTING, help="Real lesion shapes: .npz or folder of masks.")
@click.option("--masks", multiple=True, type=EXISTING, help="Folder of lesion masks of whole heads, 1 mm.")
@click.option(
    "--data", type=FOLDER, help="Patients in the challenge's layout: their truths are used as --masks."
)
@fold_option
@click.option(
    "--network-outputs",
    multiple=True,
    type=EXISTING,
    help="What train.metric_network.record_outputs made.",
)
@click.option(
    "--network-share", type=SHARE, default=0.4, show_default=True, help="Share of pairs from these outputs."
)
@click.option(
    "--hard-share",
    type=SHARE,
    default=0.3,
    show_default=True,
    help="Share of simulated predictions left as masks.",
)
@click.option("--initial", type=EXISTING, help="A metric network to go on from.")
@click.option("--batch", type=COUNT, default=10, show_default=True, help="Pairs per step.")
@click.option(
    "--uses",
    type=COUNT,
    default=5,
    show_default=True,
    help="How often a pair is seen, turned and softened anew.",
)
@click.option(
    "--walkers",
    type=WHOLE,
    default=0,
    show_default=True,
    help="Pairs more per step: maps that walk up F's gradient.",
)
@click.option(
    "--gradient-weight",
    type=NOT_NEGATIVE,
    default=0.0,
    show_default=True,
    help="Of the term that teaches F's gradient to point to the errors.",
)
@click.option(
    "--counts-weight",
    type=NOT_NEGATIVE,
    default=COUNTS_WEIGHT,
    show_default=True,
    help="Of the compact head's lesion counts.",
)
@click.option(
    "--rate", type=POSITIVE, default=1e-4, show_default=True, help="Learning rate of Adam (the paper: 1e-4)."
)
@click.option("--schedule", type=click.Choice(["constant", "cosine"]), default="constant", show_default=True)
@click.option("--average", type=SHARE, default=0.99, show_default=True, help="Decay of the averaged weights.")
@click.option(
    "--minutes", type=POSITIVE, default=120.0, show_default=True, help="Wall time over all starts of the run."
)
@click.option("--steps", type=COUNT, default=10**9, help="Optimiser steps over all starts of the run.")
@click.option(
    "--epoch-steps", type=COUNT, default=500, show_default=True, help="Steps between two measurements."
)
@click.option(
    "--held-out", type=COUNT, default=200, show_default=True, help="Held-out pairs of each measurement."
)
@click.option(
    "--report-pairs",
    type=COUNT,
    default=1000,
    show_default=True,
    help="Held-out pairs of the report at the end.",
)
@click.option("--workers", type=WHOLE, default=1, show_default=True, help="Loader processes.")
@click.option("--threads", type=COUNT, default=2, show_default=True, help="Threads of the network.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--seed", type=WHOLE, default=1, show_default=True)
def main(**options: Any) -> None:
    """Train the metric network on mask pairs and report its errors on held-out ones."""
    is_published = options["head"] == "published"
    refuse_what_has_no_effect(
        ("--dropout", is_published, "--head published"),
        ("--counts-weight", not is_published, "--head compact"),
        ("--network-share", bool(options["network_outputs"]), "--network-outputs"),
        *needs_of_sources(options["data"]),
    )
    train(**options)


def train(output: Path, seed: int, **options: Any) -> None:
    """Train, or go on training, until the budget is used up; write `metric_network.pt` and a report."""
    device = choose_device(options["device"], print)
    torch.manual_seed(seed)
    torch.set_num_threads(options["threads"])
    network = _new_network(**options)
    precision = choose_precision("auto", device)
    network.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # missing in torch's stubs
    settings = _pair_settings(**options)
    files = [
        NetworkOutputs.load(file, options["patch"], options["definition"])
        for file in options["network_outputs"]
    ]
    outputs = NetworkOutputs.joined(files) if files else None
    shapes, masks = read_shapes(options["shapes"]), masks_of_folders(options["masks"])
    truths = truths_of_patients(options["data"], options["fold"])

    def material(is_held_out: bool) -> dict[str, Any]:
        """Every fifth of what pairs are made of is left to the held-out ones; patients as in stage 2."""
        return {
            "real_boxes": left_for_training(shapes, is_held_out),
            "real_masks": [*left_for_training(masks, is_held_out), *truths[is_held_out]],
            "outputs": outputs.part(is_held_out) if outputs else None,
        }

    sources, held_out = material(is_held_out=False), material(is_held_out=True)
    output.mkdir(parents=True, exist_ok=True)
    optimizer = torch.optim.Adam(network.parameters(), lr=options["rate"], betas=(0.9, 0.999))
    run = Run(
        output,
        network,
        optimizer,
        Averaged(options["average"]),
        options["minutes"],
        options["steps"],
        more={"held_out": HeldOut.of(options["data"], options["fold"])},
    )
    if run.resume():
        click.echo(f"going on from step {run.step}")

    def averaged_network() -> MetricNetwork:
        copy = MetricNetwork(**network.settings)  # type: ignore[arg-type]
        copy.load_state_dict(run.averaged.parameters or network.state_dict())
        return copy.to(device)

    def on_epoch(_epoch: int) -> dict[str, float]:
        current = averaged_network()
        save_metric_network(output, current, current.state_dict(), run.step)
        values: dict[str, float] = {}
        for name, pairs in measure(current, settings, options["held_out"], seed, **held_out).items():
            result, kind = accuracy(*pairs), name.split()[0]
            values |= {f"held_out_{kind}/mae": result.mae, f"held_out_{kind}/pearson": result.pearson}
            values[f"held_out_{kind}/worst_bin_mae"] = max(result.bin_mae)
        return values

    stream = MaskPairs(settings, seed, **sources, batches_done=run.step)
    walkers = Walkers(
        network, options["walkers"], options["definition"], precision, np.random.default_rng((seed, run.step))
    )
    run.train(
        make_pair_loader(stream, options["workers"]),
        lambda batch: metric_loss(
            network, walkers.join(batch), precision, options["gradient_weight"], options["counts_weight"]
        ),
        lambda progress: learning_rate(options["rate"], options["schedule"], progress, run.step),
        epoch_steps=options["epoch_steps"],
        on_epoch=on_epoch,
    )
    final = averaged_network()
    save_metric_network(output, final, final.state_dict(), run.step)
    results = measure(final, settings, options["report_pairs"], seed + 1, **held_out)
    title = f"Metric network, {options['head']} head, {run.step} steps, patches of {options['patch']}"
    click.echo(table(write_report(results, output / "report", title)))


def _new_network(
    head: Head,
    patch: int,
    width: int | None,
    dropout: float,
    definition: Mode,
    initial: Path | None,
    **_others: Any,
) -> MetricNetwork:
    """Return the network to train: a new one, or with the parameters of another."""
    try:
        network = MetricNetwork(head, patch, width, dropout, definition)
    except ValueError as error:
        raise UsageError(f"{error}; change --head, --patch or --width") from error
    if initial is not None:
        given = load_metric_network(initial)[0]
        try:
            network.load_state_dict(given.state_dict())
        except RuntimeError as error:
            raise UsageError(
                f"{initial}: a metric network with {given.settings} cannot start one with {network.settings}"
            ) from error
    return network


def _pair_settings(
    patch: int,
    batch: int,
    hard_share: float,
    network_share: float,
    network_outputs: Sequence[Path],
    definition: Mode,
    uses: int,
    **_others: Any,
) -> PairSettings:
    """Return what the mask pairs are made of."""
    share = network_share if network_outputs else 0.0
    try:
        return PairSettings(patch, batch, hard_share, share, definition, uses)
    except ValueError as error:
        raise UsageError(f"{error}; raise --patch") from error


if __name__ == "__main__":
    main()
