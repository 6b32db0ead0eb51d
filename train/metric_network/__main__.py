"""Train the metric network: python -m train.metric_network --help."""

from typing import Any

import click

from lesionwise.commands.options import NumberRange
from train.commandline import (
    COUNT,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    WHOLE,
    refuse_what_has_no_effect,
    training_command,
)
from train.metric_network.losses import COUNTS_WEIGHT
from train.metric_network.network import HEADS
from train.metric_network.targets import DEFINITIONS
from train.metric_network.training import train
from train.sources import EXISTING, FOLDER, fold_option, needs_of_sources


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


if __name__ == "__main__":
    main()
