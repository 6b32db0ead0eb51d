"""The segmentation network's own outputs as mask pairs for the metric network, at several stages of its training.

Each output is kept with the F1 that it has at five thresholds, so that pairs of any F1 can be picked from few outputs.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionwise.errors import InputError
from lesionwise.files import write_whole
from lesionwise.overlap import Mode
from train.checkpoints import reading
from train.held_out import NO_PATIENTS, HeldOut
from train.metric_network.targets import patch_f1

THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)
LEVELS = 250
"""Probabilities are kept as whole numbers from 0 to this: each threshold is one of them."""

HELD_OUT_OF = 5
"""One of so many is left to the held-out pairs."""

AGAIN = "record them again with train.metric_network.record_outputs"


def left_for_training(items: Sequence[Any], is_held_out: bool = False) -> list[Any]:
    """Return the items that training may see, or those that are held out."""
    return [item for number, item in enumerate(items) if (number % HELD_OUT_OF == 0) == is_held_out]


def held_out_of(file: Path) -> HeldOut:
    """Return the patients that outputs leave to be held out, and those learned, as `save` stated them.

    Raises as `NetworkOutputs.load`.
    """
    with reading(file, "outputs with all that is to be known of them", AGAIN), np.load(file) as stored:
        return HeldOut.stated_in(json.loads(str(stored["patients"])))


@dataclass(frozen=True)
class NetworkOutputs:
    """Probability maps and truths of patches, with their F1.

    Patches of one pair of time points share lesions: those of a whole pair, or patient, are held out or none is.

    Attributes:
        levels: (n, x, y, z) uint8, probability times LEVELS.
        truths: (n, x, y, z) bool.
        f1: (n, len(THRESHOLDS)) float32.
        held_out: (n,) bool, patches that the metric network is measured with and never trained.
        definition: of the F1.
    """

    levels: NDArray[np.uint8]
    truths: NDArray[np.bool_]
    f1: NDArray[np.float32]
    held_out: NDArray[np.bool_]
    definition: Mode

    @staticmethod
    def of(
        probabilities: NDArray[np.float32],
        truths: NDArray[np.bool_],
        definition: Mode = "organisers",
        is_held_out: bool = False,
    ) -> "NetworkOutputs":
        """Measure the F1 of probability maps (n, x, y, z) at each threshold; all of them are held out, or none."""
        levels = np.rint(probabilities * LEVELS).astype(np.uint8)
        f1 = [
            [patch_f1(level > threshold * LEVELS, truth, definition) for threshold in THRESHOLDS]
            for level, truth in zip(levels, truths, strict=True)
        ]
        return NetworkOutputs(
            levels,
            truths,
            np.array(f1, dtype=np.float32).reshape(-1, len(THRESHOLDS)),
            np.full(len(levels), is_held_out),
            definition,
        )

    @staticmethod
    def joined(parts: Sequence["NetworkOutputs"]) -> "NetworkOutputs":
        """Return the outputs of several stages together, of one definition."""
        return NetworkOutputs(
            np.concatenate([part.levels for part in parts]),
            np.concatenate([part.truths for part in parts]),
            np.concatenate([part.f1 for part in parts]),
            np.concatenate([part.held_out for part in parts]),
            parts[0].definition,
        )

    def part(self, is_held_out: bool) -> "NetworkOutputs":
        """Return what is held out, or what is left to train with."""
        chosen = self.held_out == is_held_out
        return NetworkOutputs(
            self.levels[chosen], self.truths[chosen], self.f1[chosen], self.held_out[chosen], self.definition
        )

    @staticmethod
    def load(file: Path, size: int, definition: Mode) -> "NetworkOutputs":
        """Read what `save` wrote.

        Raises:
            InputError: it is no such file or an older one, or holds patches of another edge than `size`, or the F1 of another
                definition.
        """
        with reading(file, "outputs with all that is to be known of them", AGAIN):
            with np.load(file) as stored:
                arrays = dict(stored)
            shape = tuple(arrays["shape"])
            truths = np.unpackbits(arrays["truths"])[: np.prod(shape)].reshape(shape).astype(np.bool_)
            outputs = NetworkOutputs(
                arrays["levels"],
                truths,
                arrays["f1"],
                arrays["held_out"],
                str(arrays["definition"]),  # type: ignore[arg-type]
            )
        for what, is_, wanted in (
            ("patches of", shape[1], size),
            ("F1 of the definition", outputs.definition, definition),
        ):
            if is_ != wanted:
                raise InputError(
                    f"{file}: these outputs have {what} {is_}, not {wanted}; name others, or {AGAIN}"
                )
        return outputs

    def save(self, file: Path, patients: HeldOut = NO_PATIENTS) -> None:
        """Write a compressed `.npz`, whole or not at all. `patients`: those that are held out and those learned."""
        arrays: dict[str, Any] = {
            "levels": self.levels,
            "truths": np.packbits(self.truths),
            "shape": self.truths.shape,
            "f1": self.f1,
            "held_out": self.held_out,
            "definition": self.definition,
            "patients": json.dumps(patients.stated()),
        }
        write_whole({file: lambda part: np.savez_compressed(part, **arrays)})

    def pair(self, index: int, threshold: int) -> tuple[NDArray[np.float32], NDArray[np.bool_], float]:
        """Return a probability map in which the threshold has moved to 0.5, its truth, and their F1.

        Moving the threshold t multiplies the odds by (1 - t) / t: the map of a network with another bias.
        """
        t = THRESHOLDS[threshold]
        probability = self.levels[index].astype(np.float32) / LEVELS
        moved = probability * (1 - t) / (probability * (1 - t) + (1 - probability) * t)
        # Exactly at the threshold the odds are even up to rounding: such a voxel is not predicted.
        moved = np.where(self.levels[index] > t * LEVELS, np.maximum(moved, 0.501), np.minimum(moved, 0.5))
        return moved.astype(np.float32), self.truths[index], float(self.f1[index, threshold])
