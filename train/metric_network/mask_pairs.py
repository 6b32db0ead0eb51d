"""Streams of mask pairs for the metric network, balanced over F1 and made in the loader's own processes.

The balance is by construction: pairs come in groups that hold equally many of each of the ten bins of F1, and the
exact values 0 and 1 fill at most half of their bins. A stream is a pure function of its seed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, IterableDataset

from lesionwise.overlap import Mode
from train.loader_processes import place_in_stream, step_back
from train.metric_network.corruptions import Shapes, random_boxes, random_prediction, random_truth
from train.metric_network.network_outputs import NetworkOutputs
from train.metric_network.placed_lesions import Mask, paint
from train.metric_network.softening import draw_softening, soften
from train.metric_network.targets import BINS, bin_of, lesion_counts, patch_f1

PairBatch = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
"""Predictions and truths (batch, x, y, z) in [0, 1], F1 (batch), counts (batch, 4, cells) as `lesion_counts`; float32."""

SMALLEST_PATCH = 24

_BOXES = 200  # lesion shapes that are alive at once; each group of pairs has its own


@dataclass(frozen=True)
class PairSettings:
    """What mask pairs are made of.

    Attributes:
        size: edge of a patch in voxels.
        batch: pairs in a batch.
        hard_share: share of the predictions that stay masks; the rest is softened.
        network_share: share of the pairs from a network's outputs, where there are any of the wanted F1.
        definition: of the F1, see `targets`.
        uses: how often each pair is seen, mirrored, with axes swapped and softened anew; making one costs as much as
            learning from it.
    """

    size: int = 64
    batch: int = 10
    hard_share: float = 0.3
    network_share: float = 0.4
    definition: Mode = "organisers"
    uses: int = 1

    def __post_init__(self) -> None:
        """Raise ValueError for patches too small for the twenty lesions that an F1 just above 0 or below 1 takes."""
        if self.size < SMALLEST_PATCH:
            raise ValueError(
                f"a patch of {self.size} voxels is below {SMALLEST_PATCH}: F1 cannot be balanced in it"
            )


@dataclass(frozen=True)
class MaskPair:
    """A prediction and a truth with their F1. `probability` is None where the prediction is still to be softened."""

    prediction: Mask
    truth: Mask
    f1: float
    probability: NDArray[np.float32] | None = None

    def turned(self, rng: np.random.Generator) -> "MaskPair":
        """Return the pair in one of the 48 orientations of a cube, which all have the same F1."""
        axes, steps = rng.permutation(3), rng.choice([-1, 1], 3)
        mirror = tuple(slice(None, None, int(step)) for step in steps)

        def turn(array: NDArray[Any]) -> NDArray[Any]:
            return np.ascontiguousarray(array[mirror].transpose(axes))

        probability = None if self.probability is None else turn(self.probability)
        return MaskPair(turn(self.prediction), turn(self.truth), self.f1, probability)


def balanced_group(
    settings: PairSettings, shapes: Shapes, outputs: NetworkOutputs | None, rng: np.random.Generator
) -> list[MaskPair]:
    """Return ten times `settings.batch` pairs, `settings.batch` of each bin, in random order."""
    quota = settings.batch
    bins: list[list[MaskPair]] = [[] for _ in range(BINS)]
    edges = {0.0: 0, 1.0: 0}
    while any(len(members) < quota for members in bins):
        wanted = min(range(BINS), key=lambda b: len(bins[b]))
        exact_allowed = {value for value, count in edges.items() if count < quota // 2}
        pair = None
        if outputs is not None and rng.random() < settings.network_share:
            pair = _from_network(outputs, wanted, exact_allowed, rng)
        pair = pair or _corrupted(settings, shapes, wanted, exact_allowed, rng)
        members = bins[int(bin_of(pair.f1))]
        if len(members) == quota or (pair.f1 in edges and pair.f1 not in exact_allowed):
            continue
        members.append(pair)
        if pair.f1 in edges:
            edges[pair.f1] += 1
    pairs = [pair for members in bins for pair in members]
    return [pairs[k] for k in rng.permutation(len(pairs))]


def network_input(pair: MaskPair, settings: PairSettings, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the prediction as the metric network gets it: a mask, a softened one, or a network's map."""
    if pair.probability is not None:
        return pair.probability
    if rng.random() < settings.hard_share:
        return pair.prediction.astype(np.float32)
    missed = pair.truth & ~pair.prediction
    faint = missed if rng.random() < 0.5 else np.zeros_like(missed)
    return soften(pair.prediction, faint, draw_softening(rng))


class MaskPairs(IterableDataset[PairBatch]):
    """Endless batches of mask pairs."""

    def __init__(
        self,
        settings: PairSettings,
        seed: int,
        real_boxes: Sequence[Mask] = (),
        real_masks: Sequence[Mask] = (),
        outputs: NetworkOutputs | None = None,
        batches_done: int = 0,
    ) -> None:
        """Start after `batches_done` batches. `real_boxes`, `real_masks`: shapes and whole masks of real lesions."""
        self.settings, self.seed, self.outputs = settings, seed, outputs
        self.real_boxes, self.real_masks, self.batches_done = real_boxes, real_masks, batches_done

    def __iter__(self) -> Iterator[PairBatch]:
        worker, group, skipped = place_in_stream(self.batches_done, BINS * self.settings.uses)
        while True:
            yield from self._group(np.random.default_rng((self.seed, worker, group)), skipped)
            group, skipped = group + 1, 0

    def _group(self, rng: np.random.Generator, skipped: int) -> Iterator[PairBatch]:
        shapes = Shapes(random_boxes(rng, _BOXES, self.real_boxes), self.real_masks)
        pairs = balanced_group(self.settings, shapes, self.outputs, rng)
        size = self.settings.batch
        for number in range(BINS * self.settings.uses):
            use, begin = divmod(number * size, len(pairs))
            if use and not begin:
                pairs = [pairs[k].turned(rng) for k in rng.permutation(len(pairs))]
            some = pairs[begin : begin + size]
            inputs = np.stack([network_input(pair, self.settings, rng) for pair in some])
            if number >= skipped:
                definition = self.settings.definition
                counts = [lesion_counts(pair.prediction, pair.truth, definition) for pair in some]
                yield (
                    torch.from_numpy(inputs),
                    torch.from_numpy(np.stack([pair.truth for pair in some]).astype(np.float32)),
                    torch.tensor([pair.f1 for pair in some], dtype=torch.float32),
                    torch.from_numpy(np.stack(counts)),
                )


def make_pair_loader(stream: IterableDataset[PairBatch], workers: int) -> DataLoader[PairBatch]:
    """Return a loader that makes batches in `workers` processes of its own, ahead of the network."""
    prefetch = 16 if workers else None
    return DataLoader(
        stream,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=prefetch,
        worker_init_fn=step_back,
        pin_memory=torch.cuda.is_available(),
    )


def _corrupted(
    settings: PairSettings, shapes: Shapes, wanted: int, exact_allowed: set[float], rng: np.random.Generator
) -> MaskPair:
    """Return a pair whose F1 tends towards the wanted bin."""
    f1 = float(rng.uniform(wanted / BINS, (wanted + 1) / BINS))
    if wanted == 0 and 0.0 in exact_allowed:
        f1 = 0.0
    elif wanted == BINS - 1 and 1.0 in exact_allowed:
        f1 = 1.0
    truth = random_truth(shapes, settings.size, f1, rng)
    prediction = random_prediction(truth, shapes, settings.size, f1, rng)
    mask = paint(truth, settings.size)
    return MaskPair(prediction, mask, patch_f1(prediction, mask, settings.definition))


def _from_network(
    outputs: NetworkOutputs, wanted: int, exact_allowed: set[float], rng: np.random.Generator
) -> MaskPair | None:
    """Return a network's output with an F1 of the wanted bin, or None where there is none."""
    usable = bin_of(outputs.f1) == wanted
    for value in {0.0, 1.0} - exact_allowed:
        usable &= outputs.f1 != value
    candidates = np.argwhere(usable)
    if not len(candidates):
        return None
    index, threshold = candidates[rng.integers(len(candidates))]
    probability, truth, f1 = outputs.pair(int(index), int(threshold))
    return MaskPair(probability > 0.5, truth, f1, probability)
