"""Which preprocessing steps run, in which order: mask, bias correction, denoising, histogram matching.

The order is that of the Anima scripts for multiple sclerosis; each step's module says which tool it equals.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from lesionwise.errors import TIMES, PreprocessingError, about
from lesionwise.preprocessing.bias_field import correct_bias_field
from lesionwise.preprocessing.denoising import denoise
from lesionwise.preprocessing.denoising_torch import denoise_on
from lesionwise.preprocessing.histogram_matching import match_histogram

Image = NDArray[np.float32]


@dataclass(frozen=True)
class Recipe:
    """The steps that run after masking with the brain, each of which can be left out."""

    bias_correction: bool = True
    denoising: bool = True
    histogram_matching: bool = False

    @property
    def steps(self) -> tuple[str, ...]:
        """What runs, in order, as progress and reports name it."""
        chosen = (
            ("masking", True),
            ("bias correction", self.bias_correction),
            ("denoising", self.denoising),
            ("histogram matching", self.histogram_matching),
        )
        return tuple(name for name, runs in chosen if runs)


RECIPES = {
    # What the paper describes: bias correction and denoising of the brain.
    "paper": Recipe(),
    # The longitudinal script of the MSSEG-2 challenge, which does not denoise.
    "challenge": Recipe(denoising=False),
}
DEFAULT_RECIPE = "paper"

CPU = torch.device("cpu")


def preprocess_pair(
    time1: NDArray[np.floating],
    time2: NDArray[np.floating],
    brain_mask: NDArray[np.bool_],
    recipe: Recipe = RECIPES[DEFAULT_RECIPE],
    threads: int = 1,
    on_step: Callable[[str], None] = lambda _step: None,
    template: NDArray[np.floating] | None = None,
    device: torch.device = CPU,
) -> tuple[Image, Image]:
    """Return both time points preprocessed, float32, zero outside the brain but for the rim below.

    `time1`, `time2` and `brain_mask` are (x, y, z) on one grid; the result is on the same. Each time point is
    treated on its own, but that histogram matching brings time 2 to time 1, or both to `template`, an image of
    any size, as the challenge's script does with its option -t. `on_step` is called with the name of
    each step (see `Recipe.steps`) before it runs. `device`: a GPU denoises there; all else runs on the CPU.

    Denoising after masking, the order that the tools have, averages zeros and brain in the voxels next to the
    mask: this rim, one voxel wide, is not zero. Whoever wants it away multiplies by the mask.

    Raises PreprocessingError where the bias field cannot be estimated, or histograms cannot be matched.
    """
    pair = [np.asarray(time1, dtype=np.float32), np.asarray(time2, dtype=np.float32)]
    for step in recipe.steps:
        on_step(step)
        if step == "masking":
            pair = [_masked(image, brain_mask) for image in pair]
        elif step == "bias correction":
            # One time point makes poor use of several threads, so the two run side by side.
            with ThreadPoolExecutor(min(threads, 2)) as pool:
                pair = list(pool.map(partial(_corrected, threads=max(1, threads // 2)), TIMES, pair))
        elif step == "denoising":
            for time, image in enumerate(pair):  # each takes its place before the next one takes memory
                pair[time] = _denoise(image, threads, device)
        elif step == "histogram matching":
            _check_varied(pair)
            if template is None:
                pair[1] = _matched(pair[1], pair[0], threads)
            else:
                pair = [_matched(image, template, threads) for image in pair]
    return pair[0], pair[1]


def _masked(image: Image, mask: NDArray[np.bool_]) -> Image:
    masked = np.zeros(image.shape, dtype=np.float32)
    np.copyto(masked, image, where=mask)
    return masked


def _corrected(name: str, image: Image, threads: int) -> Image:
    with about(name):
        return correct_bias_field(image, threads)


def _check_varied(pair: list[Image]) -> None:
    for name, image in zip(TIMES, pair, strict=True):
        if image.min() == image.max():
            raise PreprocessingError(
                f"{name}: it has one value everywhere, and no histogram to match; look at the scan and the brain mask,"
                " or leave that out (--no-match-histogram)"
            )


def _matched(image: Image, reference: NDArray[np.floating], threads: int) -> Image:
    """Match histograms, but leave zeros zero: an image with a negative voxel would get a grey background."""
    return np.where(image == 0, np.float32(0), match_histogram(image, reference, threads))


def _denoise(image: Image, threads: int, device: torch.device) -> Image:
    return denoise(image, threads) if device.type == "cpu" else denoise_on(image, device)
