"""Record a segmentation network's outputs at stages of its training: python -m train.metric_network.record_outputs --help.

The outputs are one of the sources of mask pairs: a metric network that never saw them is fooled by them.
"""

from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from lesionwise.errors import InputError
from train.commandline import COUNT, PATCH, WHOLE, refuse_what_has_no_effect, training_command
from train.held_out import HeldOut
from train.metric_network.network_outputs import HELD_OUT_OF, NetworkOutputs
from train.metric_network.targets import DEFINITIONS
from train.patches import PatchSettings
from train.segmentation.stages import FOLDER as STAGES
from train.segmentation.stages import held_out_of, load_network
from train.segmentation.validation import predict
from train.sources import (
    EXISTING,
    FOLDER,
    SHARD_SEED,
    needs_of_sources,
    open_sources,
    source_options,
)


@training_command("record-outputs")
@click.option("--run", multiple=True, type=FOLDER, help="Folder of a run: all its stages and its checkpoint.")
@click.option("--checkpoint", multiple=True, type=EXISTING, help="A stage or checkpoint by itself.")
@click.option(
    "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The .npz file."
)
@click.option(
    "--patches",
    default=200,
    show_default=True,
    type=click.IntRange(min=2),
    help="Patches for each stage; a fifth of them from pairs or patients that are held out.",
)
@click.option("--patch", type=PATCH, default=64, show_default=True, help="Edge of a patch in voxels.")
@click.option("--definition", type=click.Choice(DEFINITIONS), default="organisers", show_default=True)
@click.option("--threads", type=COUNT, default=2, show_default=True)
@click.option("--seed", type=WHOLE, default=1, show_default=True)
@source_options
def main(
    run: tuple[Path, ...],
    checkpoint: tuple[Path, ...],
    output: Path,
    patches: int,
    patch: int,
    definition: Any,
    threads: int,
    seed: int,
    **source: Any,
) -> None:
    """Record the outputs of every stage of the runs, and of every checkpoint, on patches that differ between them."""
    refuse_what_has_no_effect(*needs_of_sources(source["data"]))
    files = [*checkpoint, *(file for folder in run for file in stages_of(folder))]
    if not files:
        raise InputError("there is nothing to record from; name a --run or a --checkpoint")
    own = HeldOut.of(source["data"], source["fold"])
    for file in files:
        own = own.after(held_out_of(file), file)
    torch.set_num_threads(threads)
    sources = open_sources(**source, threads=threads)
    settings, held_out_patches = PatchSettings(size=patch), max(1, patches // HELD_OUT_OF)
    parts = []
    for number, file in enumerate(files):
        network, stage_seed = load_network(file), seed + SHARD_SEED // 2 + number
        for is_held_out, (images, truths) in (
            (False, sources.patches(settings, patches - held_out_patches, stage_seed)),
            (True, sources.held_out(settings, held_out_patches, stage_seed)),
        ):
            probabilities = predict(network, images).numpy()
            parts.append(NetworkOutputs.of(probabilities, truths.numpy() > 0.5, definition, is_held_out))
        mean = np.concatenate([part.f1[:, 2] for part in parts[-2:]]).mean()
        click.echo(f"{file}: {patches} patches, mean F1 {mean:.3f} at threshold 0.5")
    output.parent.mkdir(parents=True, exist_ok=True)
    NetworkOutputs.joined(parts).save(output, own)


def stages_of(folder: Path) -> list[Path]:
    """Return the files of a run's stages and its checkpoint, the earliest first.

    Raises:
        InputError: there is none.
    """
    files = [*sorted((folder / STAGES).glob("*.pt")), *folder.glob("checkpoint.pt")]
    if not files:
        raise InputError(f"{folder}: this run has no stages; train it with --save-stages")
    return files


if __name__ == "__main__":
    main()
