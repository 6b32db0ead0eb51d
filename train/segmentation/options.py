"""The options of stage 2, with the paper's values as defaults where it states one."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import click

from lesionwise.commands.options import NumberRange
from lesionwise.overlap import Mode
from train.commandline import COUNT, NOT_NEGATIVE, PATCH, POSITIVE, SHARE, WHOLE, WIDTH
from train.metric_network.targets import DEFINITIONS
from train.patches import PatchSettings
from train.sources import EXISTING, FOLDER, source_options

LesionLossName = Literal["none", "metric-network", "blob", "cc"]
LESION_LOSSES: tuple[LesionLossName, ...] = ("none", "metric-network", "blob", "cc")


@dataclass(frozen=True)
class Options:
    """What a run is made with; the command's help describes each option."""

    output: Path
    backgrounds: Path | None = None
    shapes: tuple[Path, ...] = ()
    data: Path | None = None
    cache: Path | None = None
    fold: int = 0
    synthetic_share: float = 0.0
    initial: Path | None = None
    patch: int = PatchSettings.size
    batch: int = PatchSettings.batch
    shards: int = 0
    around_new: float = PatchSettings.around_new
    around_old: float = PatchSettings.around_old
    pairs_in_block: int = PatchSettings.pairs_in_block
    patches_per_pair: int = 0
    iqda: bool = False
    turns: bool = False
    width: int = 24
    dropout: float = 0.5
    cross_entropy: float = 0.0
    lesion_loss: LesionLossName = "none"
    alpha: float = 0.2
    balance_gradients: bool = False
    metric_network: Path | None = None
    definition: Mode = "organisers"
    refresh_metric: int = 0
    refresh_patches: int = 48
    refresh_steps: int = 100
    rate: float = 1e-4
    schedule: str = "constant"
    average: float = 0.999
    minutes: float = 600.0
    steps: int = 10**9
    log_steps: int = 20
    epoch_steps: int = 250
    validation_patches: int = 24
    save_stages: bool = False
    workers: int = 1
    threads: int = 2
    device: str = "cpu"
    precision: str = "auto"
    compile: bool = False
    seed: int = 1


_DEFAULTS = {field.name: field.default for field in fields(Options)}


def _option(flag: str, text: str, **settings: Any) -> tuple[str, Callable[..., Any]]:
    """Return the name of an option and the click option, whose default stands in `Options` alone."""
    name = flag.split("/")[0].removeprefix("--").replace("-", "_")
    default = _DEFAULTS[name]
    return name, click.option(flag, default=default, show_default=default is not None, help=text, **settings)


_OPTIONS = (
    (
        "output",
        click.option(
            "--output",
            required=True,
            type=FOLDER,
            help="Folder of the run: checkpoint and log. Resumed if it is there.",
        ),
    ),
    ("sources", source_options),
    _option(
        "--initial",
        "Network to start from: a checkpoint, a folder of a run (its averaged weights) or of weights; a narrower one grows.",
        type=EXISTING,
    ),
    _option("--patch", "Edge of a patch in voxels.", type=PATCH),
    _option("--batch", "Patches per step, over all processes.", type=COUNT),
    _option("--shards", "Streams that a batch is put together from; 0: one a process.", type=WHOLE),
    _option("--around-new", "Share of patches around a new lesion.", type=SHARE),
    _option(
        "--around-old",
        "Share of patches around an old lesion; the rest lies anywhere in the brain.",
        type=SHARE,
    ),
    _option("--pairs-in-block", "Pairs of time points that are alive at once.", type=COUNT),
    _option(
        "--patches-per-pair", "Patches drawn from a pair; 0: as many as its making is worth.", type=WHOLE
    ),
    _option("--iqda/--no-iqda", "Image quality augmentation of each time point."),
    _option("--turns/--no-turns", "Right-angle turns and mirrors."),
    _option("--width", "Channels of the first convolution (24 is the published network).", type=WIDTH),
    _option("--dropout", "After each max-pooling.", type=NumberRange(0, 1, max_open=True)),
    _option("--cross-entropy", "Weight of cross-entropy beside 1 - Dice.", type=NOT_NEGATIVE),
    _option("--lesion-loss", "The lesion-wise term.", type=click.Choice(LESION_LOSSES)),
    _option(
        "--alpha",
        "Weight of the lesion-wise term (0.5 and the blob loss: as that was published).",
        type=NOT_NEGATIVE,
    ),
    _option(
        "--balance-gradients/--no-balance-gradients", "Alpha weighs the two terms' gradients, not values."
    ),
    _option("--metric-network", "The file or folder of a trained metric network.", type=EXISTING),
    _option("--definition", "Of the lesion-wise F1 in validation.", type=click.Choice(DEFINITIONS)),
    _option(
        "--refresh-metric", "Fine-tune F on the current outputs every so many epochs; 0: never.", type=WHOLE
    ),
    _option("--refresh-patches", "Fresh patches whose outputs F sees at each refreshing.", type=COUNT),
    _option("--refresh-steps", "Optimiser steps of each refreshing.", type=COUNT),
    _option("--rate", "Learning rate of Adam.", type=POSITIVE),
    _option("--schedule", "Course of the learning rate.", type=click.Choice(["constant", "cosine"])),
    _option("--average", "Decay of the averaged weights.", type=SHARE),
    _option("--minutes", "Wall time over all starts of the run.", type=POSITIVE),
    _option("--steps", "Optimiser steps over all starts of the run.", type=COUNT),
    _option("--log-steps", "Steps between two lines of the log, each the mean over them.", type=COUNT),
    _option("--epoch-steps", "Steps between two validations.", type=COUNT),
    _option("--validation-patches", "Held-out patches measured after each epoch; 0: none.", type=WHOLE),
    _option("--save-stages/--no-save-stages", "Keep the network after epochs 1, 2, 4, 8 and so on."),
    _option("--workers", "Loader processes, for each process.", type=WHOLE),
    _option("--threads", "Threads of the network.", type=COUNT),
    _option("--device", "Where the network runs.", type=click.Choice(["cpu", "cuda"])),
    _option(
        "--precision",
        "Of the convolutions; auto: bf16 where the hardware is fast at it.",
        type=click.Choice(["auto", "fp32", "bf16"]),
    ),
    _option(
        "--compile/--no-compile", "Let torch.compile fuse the network; on a CPU it needs a C++ compiler."
    ),
    _option("--seed", "Of everything that is drawn.", type=WHOLE),
)


def segmentation_options(*left_out: str) -> Callable[..., Any]:
    """Return what gives a command the options of stage 2, but for those left out, by their names in `Options`."""

    def decorated(command: Callable[..., Any]) -> Callable[..., Any]:
        for name, option in reversed(_OPTIONS):
            command = command if name in left_out else option(command)
        return command

    return decorated
