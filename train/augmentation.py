"""Augmentation of training patches: image quality (IQDA) for each time point on its own, right-angle turns for both.

After Kamraoui et al. (arXiv 2012.07950, and their later code for the probabilities): one of nothing, sharpening, blur, or the
mean over neighbouring axial slices. In three parts: parameters, how they are drawn, how they are applied.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.utils.data import IterableDataset, get_worker_info

Operation = Literal["nothing", "sharpening", "blur", "axial mean"]
OPERATIONS: tuple[Operation, ...] = ("nothing", "sharpening", "blur", "axial mean")
PROBABILITIES = (0.1, 0.3, 0.3, 0.3)
SHARPENING_AMOUNT = (1.0, 5.0)
SHARPENING_SIGMA_VOXELS = (0.25, 1.0)
BLUR_SIGMA_VOXELS = (0.5, 1.75)
AXIAL_SLICES = (2, 4)
AXIAL_AXIS = 2
"""Patches lie on the network's grid: (right, anterior, superior)."""

Image = NDArray[np.float32]


@dataclass(frozen=True)
class ImageQuality:
    """What is done to one time point.

    Attributes:
        operation: which of the parameters count.
        sigma_voxels: of the Gaussian along x, y, z, for sharpening and blur.
        amount: of the sharpening.
        slices: of the axial mean.
    """

    operation: Operation
    sigma_voxels: tuple[float, ...] = (0.0, 0.0, 0.0)
    amount: float = 0.0
    slices: int = 1


@dataclass(frozen=True)
class Turn:
    """A right-angle turn or mirror of a cube: the order of its axes, then which of them are flipped."""

    axes: tuple[int, ...]
    flips: tuple[bool, ...]


def draw_image_quality(rng: np.random.Generator) -> ImageQuality:
    """Draw what is done to one time point."""
    operation = OPERATIONS[int(rng.choice(len(OPERATIONS), p=PROBABILITIES))]
    if operation == "sharpening":
        sigma = tuple(float(s) for s in rng.uniform(*SHARPENING_SIGMA_VOXELS, 3))
        return ImageQuality(operation, sigma, amount=float(rng.uniform(*SHARPENING_AMOUNT)))
    if operation == "blur":
        return ImageQuality(operation, (float(rng.uniform(*BLUR_SIGMA_VOXELS)),) * 3)
    if operation == "axial mean":
        return ImageQuality(operation, slices=int(rng.integers(AXIAL_SLICES[0], AXIAL_SLICES[1] + 1)))
    return ImageQuality(operation)


def draw_turn(rng: np.random.Generator) -> Turn:
    """Draw one of the 48 turns and mirrors of a cube."""
    return Turn(tuple(int(a) for a in rng.permutation(3)), tuple(bool(f) for f in rng.random(3) < 0.5))


def degrade(image: Image, quality: ImageQuality) -> Image:
    """Return an image (x, y, z) in another quality. What was exactly 0, outside the brain, stays 0."""
    if quality.operation == "nothing":
        return image
    if quality.operation == "axial mean":
        changed = _axial_mean(image, quality.slices)
    else:
        changed = ndimage.gaussian_filter(image, quality.sigma_voxels, mode="nearest")
        if quality.operation == "sharpening":
            changed = image + quality.amount * (image - changed)
    return np.where(image == 0, image, changed).astype(np.float32)


def _axial_mean(image: Image, slices: int) -> Image:
    """Return means over neighbouring slices, centred: an even number lies half on either side, else the image would move."""
    origins = (0,) if slices % 2 else (0, -1)
    means = [
        ndimage.uniform_filter1d(image, slices, axis=AXIAL_AXIS, mode="nearest", origin=o) for o in origins
    ]
    return np.asarray(np.mean(means, axis=0, dtype=np.float32))


def turned(array: NDArray[Any], turn: Turn) -> NDArray[Any]:
    """Return an array whose last three axes are (x, y, z), turned."""
    leading = array.ndim - 3
    array = array.transpose(*range(leading), *(leading + axis for axis in turn.axes))
    flipped = tuple(leading + axis for axis, flip in enumerate(turn.flips) if flip)
    return np.ascontiguousarray(np.flip(array, flipped))


@dataclass(frozen=True)
class Augmentation:
    """Which augmentations are on."""

    image_quality: bool = False
    turns: bool = False

    def __bool__(self) -> bool:
        """Whether any is."""
        return self.image_quality or self.turns

    def apply(
        self, images: Image, truth: Image, rng: np.random.Generator
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return images (2, x, y, z) and truth (x, y, z) augmented: quality for each time point on its own, one turn."""
        if self.image_quality:
            images = np.stack([degrade(image, draw_image_quality(rng)) for image in images])
        if self.turns:
            turn = draw_turn(rng)
            images, truth = turned(images, turn), turned(truth, turn)
        return images, truth


class Augmented(IterableDataset[tuple[torch.Tensor, torch.Tensor]]):
    """A stream of batches with augmentation; like the stream, a pure function of the seed and the place in it."""

    def __init__(self, stream: Any, augmentation: Augmentation, seed: int, batches_done: int = 0) -> None:
        self.stream, self.augmentation = stream, augmentation
        self.seed, self.batches_done = seed, batches_done

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        info = get_worker_info()
        # A loader takes batches from its workers in turn, beginning with the first.
        number, workers = self.batches_done + (info.id if info else 0), info.num_workers if info else 1
        for images, truth in self.stream:
            pairs = [
                self.augmentation.apply(i, t, np.random.default_rng((self.seed, number, k)))
                for k, (i, t) in enumerate(zip(images.numpy(), truth.numpy(), strict=True))
            ]
            yield (
                torch.from_numpy(np.stack([pair[0] for pair in pairs])),
                torch.from_numpy(np.stack([pair[1] for pair in pairs])),
            )
            number += workers
