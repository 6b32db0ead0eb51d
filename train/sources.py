"""Where training patches come from: synthetic pairs, patients in the challenge's layout, or both; and their options."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch.utils.data import IterableDataset

from lesionwise.errors import InputError
from train.augmentation import Augmentation, Augmented
from train.commandline import SHARE, WHOLE, Need
from train.lesion_shapes import read_shapes
from train.patches import Batch, PatchSettings, SyntheticPatches

SHARD_SEED, HELD_OUT_SEED, EPOCH_SEED = 1_000_003, 7_000_003, 9_000_011
"""Added to a run's seed: for each further shard of a batch, for held-out patches, for each epoch's own patches."""


@dataclass(frozen=True)
class Sources:
    """What patches are cut from.

    Attributes:
        backgrounds: scans that `train.backgrounds` prepared.
        shapes: real lesion shapes.
        patients, held_out_patients: files of prepared patients; with none, all pairs are synthetic.
        synthetic_share: share of synthetic pairs beside patients.
    """

    backgrounds: Sequence[Path] = ()
    shapes: Sequence[np.ndarray] = ()
    patients: Sequence[Path] = ()
    held_out_patients: Sequence[Path] = ()
    synthetic_share: float = 0.0

    def stream(self, settings: PatchSettings, seed: int, batches_done: int = 0) -> SyntheticPatches:
        """Return an endless stream of batches, a pure function of its seed."""
        arguments: dict[str, Any] = {
            "backgrounds": self.backgrounds,
            "shapes": self.shapes,
            "batches_done": batches_done,
        }
        if not self.patients:
            return SyntheticPatches(settings, seed, **arguments)
        from train.patients import PatientPatches

        return PatientPatches(
            settings, seed, **arguments, patients=self.patients, synthetic_share=self.synthetic_share
        )

    def patches(self, settings: PatchSettings, count: int, seed: int) -> Batch:
        """Return `count` patches as one batch, from four pairs or, below 32 patches, fewer."""
        per_pair = max(8, count // 4)
        alone = replace(settings, batch=1, pairs_in_block=1, patches_per_pair=per_pair)
        batches = [batch for _, batch in zip(range(count), self.stream(alone, seed), strict=False)]
        return torch.cat([images for images, _ in batches]), torch.cat([truth for _, truth in batches])

    def held_out(self, settings: PatchSettings, count: int, seed: int) -> Batch:
        """Return patches that no training sees: of held-out patients, or synthetic ones of another seed."""
        source = replace(self, patients=self.held_out_patients, synthetic_share=0.0)
        return source.patches(settings, count, seed + HELD_OUT_SEED)


class Shards(IterableDataset[Batch]):
    """Batches put together from the streams of several seeds.

    With one stream a process in one run and all of them in the only process of another, the two runs see the same batches.
    """

    def __init__(self, streams: Sequence[IterableDataset[Batch]]) -> None:
        self.streams = streams

    def __iter__(self) -> Iterator[Batch]:
        for parts in zip(*self.streams, strict=True):
            yield torch.cat([images for images, _ in parts]), torch.cat([truth for _, truth in parts])


@dataclass(frozen=True)
class TrainingStream:
    """The stream of one process: which of the shards of each batch it makes, how they are augmented."""

    sources: Sources
    settings: PatchSettings
    seed: int
    augmentation: Augmentation = field(default_factory=Augmentation)

    def shards(self, numbers: Sequence[int], batches_done: int = 0) -> Shards:
        """Return the batches of the given shards, joined; shard 0 alone is the plain stream of the seed."""
        streams: list[IterableDataset[Batch]] = []
        for number in numbers:
            seed = self.seed + SHARD_SEED * number
            stream: IterableDataset[Batch] = self.sources.stream(self.settings, seed, batches_done)
            if self.augmentation:
                stream = Augmented(stream, self.augmentation, seed, batches_done)
            streams.append(stream)
        return Shards(streams)


FOLDER = click.Path(file_okay=False, path_type=Path)
EXISTING = click.Path(exists=True, path_type=Path)

fold_option = click.option(
    "--fold", default=0, show_default=True, type=WHOLE, help="Which fifth of the patients is held out."
)

_OPTIONS = (
    click.option(
        "--backgrounds",
        type=FOLDER,
        help="Folder of scans that train.backgrounds prepared; none: the template alone.",
    ),
    click.option(
        "--shapes", multiple=True, type=EXISTING, help="Real lesion shapes: .npz or folder of masks."
    ),
    click.option("--data", type=FOLDER, help="Patients in the challenge's layout, with their truth."),
    click.option("--cache", type=FOLDER, help="Where prepared patients are kept; needed with --data."),
    fold_option,
    click.option(
        "--synthetic-share",
        type=SHARE,
        default=0.0,
        show_default=True,
        help="Share of synthetic pairs beside patients.",
    ),
)


def needs_of_sources(data: Path | None) -> tuple[Need, ...]:
    """Return which of the options that sources have are of patients alone."""
    return tuple((flag, data is not None, "--data") for flag in ("--cache", "--fold", "--synthetic-share"))


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that `open_sources` takes."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def open_sources(
    backgrounds: Path | None,
    shapes: Sequence[Path],
    data: Path | None,
    cache: Path | None,
    fold: int,
    synthetic_share: float,
    threads: int = 1,
) -> Sources:
    """Return the sources that the options name, with patients prepared (minutes each, once, with so many threads).

    Raises:
        InputError: a folder is missing or empty.
    """
    found: list[Path] = []
    if backgrounds is not None:
        found = sorted(backgrounds.glob("*.npz"))
        if not found:
            raise InputError(f"{backgrounds}: no prepared scans are in it; make them with train.backgrounds")
    real = read_shapes(shapes)
    if data is None:
        return Sources(found, real)
    if cache is None:
        raise InputError(f"{data}: prepared patients need a folder to be kept in; name one with --cache")
    from train.patients import cached, find_patients, training_and_held_out

    if found and not synthetic_share:
        # Not refused: the tables of one recipe, called with the same options, may have different shares.
        click.echo(
            "no synthetic pairs are mixed in (--synthetic-share): --backgrounds has no effect", err=True
        )
    training, held_out = training_and_held_out(find_patients(data), fold)
    prepared = {patient: cached(patient, cache, threads) for patient in (*training, *held_out)}
    return Sources(
        found, real, [prepared[p] for p in training], [prepared[p] for p in held_out], synthetic_share
    )
