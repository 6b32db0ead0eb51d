"""Train the segmentation network: python -m train.segmentation --help."""

import math
from pathlib import Path

import click
import torch

from lesionwise.network import UNet
from train.lesion_shapes import read_shapes
from train.loop import Averaged, Run
from train.patches import Batch, PatchSettings, SyntheticPatches, make_loader
from train.segmentation.losses import segmentation_loss

FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.option(
    "--output",
    required=True,
    type=FOLDER,
    help="Folder of the run: checkpoint and log. Resumed if it is there.",
)
@click.option(
    "--backgrounds",
    type=FOLDER,
    help="Folder of scans that train.backgrounds prepared; none: the template alone.",
)
@click.option(
    "--shapes",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="Real lesion shapes: .npz or folder of masks.",
)
@click.option(
    "--initial",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A checkpoint.pt to take the averaged weights from.",
)
@click.option("--patch", default=64, show_default=True, help="Edge of a patch in voxels.")
@click.option("--batch", default=2, show_default=True, help="Patches per step.")
@click.option(
    "--width",
    default=24,
    show_default=True,
    help="Channels of the first convolution (24 is the published network).",
)
@click.option("--dropout", default=0.5, show_default=True, help="After each max-pooling.")
@click.option(
    "--cross-entropy", default=0.0, show_default=True, help="Weight of cross-entropy beside 1 - Dice."
)
@click.option("--rate", default=1e-4, show_default=True, help="Learning rate of Adam.")
@click.option("--schedule", type=click.Choice(["constant", "cosine"]), default="constant", show_default=True)
@click.option("--average", default=0.999, show_default=True, help="Decay of the averaged weights.")
@click.option("--minutes", default=600.0, show_default=True, help="Wall time over all starts of the run.")
@click.option("--steps", default=10**9, help="Optimiser steps over all starts of the run.")
@click.option("--workers", default=1, show_default=True, help="Loader processes.")
@click.option("--threads", default=2, show_default=True, help="Threads of the network.")
@click.option("--seed", default=1, show_default=True)
def main(
    output: Path,
    backgrounds: Path | None,
    shapes: tuple[Path, ...],
    initial: Path | None,
    patch: int,
    batch: int,
    width: int,
    dropout: float,
    cross_entropy: float,
    rate: float,
    schedule: str,
    average: float,
    minutes: float,
    steps: int,
    workers: int,
    threads: int,
    seed: int,
) -> None:
    """Train the segmentation network on synthetic time points."""
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    output.mkdir(parents=True, exist_ok=True)
    network = UNet(width=width, dropout=dropout)
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # missing in torch's stubs
    if initial is not None:
        network.load_state_dict(torch.load(initial, weights_only=True)["averaged"])
    optimizer = torch.optim.Adam(network.parameters(), lr=rate, betas=(0.9, 0.999))
    run = Run(output, network, optimizer, Averaged(average), minutes, steps)
    if run.resume():
        click.echo(f"going on from step {run.step}")
    stream = SyntheticPatches(
        PatchSettings(size=patch, batch=batch, patches_per_pair=max(24, 48 * 32**3 // patch**3)),
        seed,
        sorted(backgrounds.glob("*.npz")) if backgrounds else (),
        read_shapes(shapes),
        batches_done=run.step,
    )

    def step_loss(data: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        images, truth = data
        images = images.to(memory_format=torch.channels_last_3d)
        return segmentation_loss(network(images), truth, cross_entropy)

    def course(progress: float) -> float:
        if schedule == "constant":
            return rate
        warm_up = min(1.0, (run.step + 1) / 100)
        return rate * warm_up * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))

    run.train(make_loader(stream, workers), step_loss, course)


if __name__ == "__main__":
    main()
