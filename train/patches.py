"""Streams of training patches from synthetic pairs, made in the loader's own processes.

A stream is a pure function of its seed: batch j of worker w is always the same, so a run that was stopped goes on with
the very batches that it would have seen.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch.utils.data import DataLoader, IterableDataset

from lesionwise.preprocessing.normalization import normalize
from lesionwise.simulation.anatomy import deformed, random_anatomy
from lesionwise.simulation.timepoints import SyntheticPair, simulate_pair
from train.backgrounds import load
from train.loader_processes import place_in_stream, step_back

Batch = tuple[torch.Tensor, torch.Tensor]

AHEAD_BYTES = 6_000_000_000
"""Of batches that wait for the network, in shared memory."""


@dataclass(frozen=True)
class PatchSettings:
    """What patches are made of.

    Attributes:
        size: edge of a patch in voxels.
        batch: patches in a batch.
        around_new, around_old: shares of patches centred near a new lesion and near an old one; the rest lies anywhere
            in the brain.
        pairs_in_block: synthetic pairs that are alive at once, so that a batch mixes them. With few, whole stretches of
            batches hold no new lesion, and the network swings between finding all and finding none.
        patches_per_pair: patches drawn from each before it is dropped.
        template_share: share of the pairs made from the template when there are real backgrounds too.
    """

    size: int = 64
    batch: int = 2
    around_new: float = 0.5
    around_old: float = 0.2
    pairs_in_block: int = 8
    patches_per_pair: int = 24
    template_share: float = 0.4


class SyntheticPatches(IterableDataset[Batch]):
    """Endless batches of (images (batch, 2, x, y, z) float32, truth (batch, x, y, z) float32)."""

    def __init__(
        self,
        settings: PatchSettings,
        seed: int,
        backgrounds: Sequence[Path] = (),
        shapes: Sequence[np.ndarray] = (),
        batches_done: int = 0,
    ) -> None:
        """Start after `batches_done` batches; `backgrounds` are files that `train.backgrounds` prepared."""
        self.settings, self.seed, self.shapes = settings, seed, shapes
        self.backgrounds, self.batches_done = list(backgrounds), batches_done

    def __iter__(self) -> Iterator[Batch]:
        per_block = self.settings.pairs_in_block * self.settings.patches_per_pair // self.settings.batch
        worker, block, skipped = place_in_stream(self.batches_done, per_block)
        while True:
            rng = np.random.default_rng((self.seed, worker, block))
            yield from self._block(rng, per_block)[skipped:]
            block, skipped = block + 1, 0

    def _block(self, rng: np.random.Generator, batches: int) -> list[Batch]:
        patches: list[tuple[np.ndarray, np.ndarray]] = []
        for _ in range(self.settings.pairs_in_block):
            pair = self._pair(rng)
            patches += draw_patches(pair, self.settings, self.settings.patches_per_pair, rng)
        order = rng.permutation(len(patches))
        size = self.settings.batch
        return [
            (
                torch.from_numpy(np.stack([patches[k][0] for k in order[b * size : (b + 1) * size]])),
                torch.from_numpy(np.stack([patches[k][1] for k in order[b * size : (b + 1) * size]])),
            )
            for b in range(batches)
        ]

    def _pair(self, rng: np.random.Generator) -> SyntheticPair:
        if not self.backgrounds or rng.random() < self.settings.template_share:
            anatomy = random_anatomy(rng)
        else:
            anatomy = deformed(load(self.backgrounds[int(rng.integers(len(self.backgrounds)))]), rng)
        return normalised(simulate_pair(anatomy, rng, self.shapes))


def draw_patches(
    pair: SyntheticPair, settings: PatchSettings, count: int, rng: np.random.Generator
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return patches of a pair: (images (2, x, y, z), truth (x, y, z)), both float32; outside the brain the images are 0."""
    pad = settings.size // 2
    images = np.pad(np.stack([pair.time1, pair.time2]) * pair.brain, ((0, 0), *[(pad, pad)] * 3))
    truth = np.pad(pair.new_lesions, pad)
    brain = np.flatnonzero(pair.brain)
    # One draw picks a lesion, not a voxel: small lesions are the commonest and must not drown in large ones.
    new, old = (ndimage.label(mask)[0] for mask in (pair.new_lesions, pair.old_lesions & pair.brain))
    patches = []
    for _ in range(count):
        kind = rng.random()
        if kind < settings.around_new and new.any():
            centre = _voxel_of_a_lesion(new, rng)
        elif settings.around_new <= kind < settings.around_new + settings.around_old and old.any():
            centre = _voxel_of_a_lesion(old, rng)
        else:
            centre = np.array(np.unravel_index(int(brain[rng.integers(len(brain))]), pair.brain.shape))
        centre = centre + rng.integers(-settings.size // 3, settings.size // 3 + 1, 3)
        centre = np.clip(centre, 0, np.array(pair.brain.shape) - 1)
        box = tuple(slice(int(c), int(c) + settings.size) for c in centre)
        patches.append((images[(slice(None), *box)].astype(np.float32), truth[box].astype(np.float32)))
    return patches


def make_loader(
    stream: IterableDataset[Batch], settings: PatchSettings, workers: int, in_order: bool = True
) -> DataLoader[Batch]:
    """Return a loader that makes batches in `workers` processes of its own, ahead of the network.

    `in_order`: each time the next batch of the stream, else one that is ready, so that none waits for the slowest process.
    """
    batch_bytes = settings.batch * settings.size**3 * 3 * 4  # two images and the truth, float32
    ahead = min(64, max(2, AHEAD_BYTES // (batch_bytes * max(1, workers))))
    return DataLoader(
        stream,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=ahead if workers else None,
        worker_init_fn=step_back,
        pin_memory=torch.cuda.is_available(),
        in_order=in_order,
    )


def normalised(pair: SyntheticPair) -> SyntheticPair:
    """Return the pair as inference sees it: each time point divided by the highest peak of its own histogram."""
    time1, time2 = (normalize(time, pair.brain) for time in (pair.time1, pair.time2))
    return SyntheticPair(time1, time2, pair.brain, pair.new_lesions, pair.old_lesions)


def _voxel_of_a_lesion(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a random voxel (x, y, z) of a random lesion of a label image."""
    boxes = ndimage.find_objects(labels)
    number = int(rng.integers(len(boxes)))
    voxels = np.argwhere(labels[boxes[number]] == number + 1)
    return np.asarray(voxels[rng.integers(len(voxels))] + [s.start for s in boxes[number]])
