"""The denoising of `denoising.py` as torch computes it: the same numbers, for a GPU.

There a whole image is compared with itself shifted, once for each of the 342 places of the search box. On a CPU
`denoising.denoise` is far faster, because it leaves out voxels that have nothing to be averaged with.
"""

import itertools

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from lesionwise.preprocessing.denoising import (
    BETA,
    MEAN_RATIO,
    REACH,
    SEARCH_RADIUS,
    VARIANCE_RATIO,
    box_of_nonzero,
    noise_variance,
)

PATCH_RADIUS = 1

Span = tuple[int, int]


def denoise_on(image: NDArray[np.floating], device: torch.device) -> NDArray[np.float32]:
    """Return the denoised image, same shape; `image` is indexed (x, y, z) and finite.

    Equal to `denoising.denoise` to 1e-4 (relative RMS): patches are compared in single precision, but weighted in
    double, in which the small weights of an outlier's only candidates do not vanish. Takes about 110 bytes of the
    device's memory for each voxel of the box that the brain fills.
    """
    noise = noise_variance(image)
    denoised = np.array(image, dtype=np.float32)
    if noise == 0.0:
        return denoised
    box = box_of_nonzero(image, margin=REACH)
    with torch.inference_mode():
        voxels = torch.from_numpy(np.ascontiguousarray(image[box], dtype=np.float64)).to(device)
        denoised[box] = _nlmeans(voxels, noise).cpu().numpy()
    return denoised


def _nlmeans(voxels: torch.Tensor, noise: float) -> torch.Tensor:
    mean, variance = _local_statistics(voxels)
    # In these units the weight of a candidate is exp(-mean squared difference of the patches).
    scaled = (voxels / (2.0 * BETA * noise) ** 0.5).float()
    weighted_sum, weight_sum, largest = (torch.zeros_like(voxels) for _ in range(3))
    for shift in itertools.product(range(-SEARCH_RADIUS, SEARCH_RADIUS + 1), repeat=3):
        spans = [_span(size, step) for size, step in zip(voxels.shape, shift, strict=True)]
        if shift == (0, 0, 0) or any(first >= stop for first, stop in spans):
            continue
        here = tuple(slice(first, stop) for first, stop in spans)
        there = tuple(
            slice(first + step, stop + step) for (first, stop), step in zip(spans, shift, strict=True)
        )
        distance = _patch_distance(scaled, shift, spans)
        alike = _within(mean[here] / mean[there], MEAN_RATIO)
        alike &= _within(variance[here] / variance[there], VARIANCE_RATIO)
        weight = torch.exp(-distance.double()) * alike
        weighted_sum[here] += weight * scaled[there]
        weight_sum[here] += weight
        torch.maximum(largest[here], weight, out=largest[here])
    # A voxel weighs as much as its best candidate; one without candidates stays.
    denoised = (weighted_sum + largest * scaled) / (weight_sum + largest) * (2.0 * BETA * noise) ** 0.5
    return torch.where(weight_sum > 0, denoised, voxels).float()


def _local_statistics(voxels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and unbiased variance of the 3x3x3 voxels around each; outside, the edge voxels are repeated."""
    mean, mean_of_squares = (_window_mean(x, "replicate") for x in (voxels, voxels * voxels))
    return mean, (mean_of_squares - mean * mean) * (27 / 26)


def _window_mean(image: torch.Tensor, mode: str) -> torch.Tensor:
    """Return the mean of the 3x3x3 voxels around each; outside are zeros ("constant") or the edge ("replicate")."""
    padded = functional.pad(image[None, None], [PATCH_RADIUS] * 6, mode=mode)
    return functional.avg_pool3d(padded, 2 * PATCH_RADIUS + 1, stride=1)[0, 0]


def _span(size: int, step: int) -> Span:
    """Return the voxels along an axis, first and past the last, whose candidate `step` further has a whole patch.

    A patch is cut where it leaves the image; the candidate's has the same cut shape and must be inside.
    """
    inside = [
        voxel
        for voxel in range(size)
        if min(voxel, PATCH_RADIUS) <= voxel + step <= size - 1 - min(size - 1 - voxel, PATCH_RADIUS)
    ]
    return (inside[0], inside[-1] + 1) if inside else (0, 0)


def _patch_distance(scaled: torch.Tensor, shift: tuple[int, ...], spans: list[Span]) -> torch.Tensor:
    """Return the mean squared difference of the patches around each voxel in `spans` and around its candidate."""
    # One voxel more on each side, where there is one, for the patches of the outermost voxels.
    wider = [
        (max(first - PATCH_RADIUS, 0), min(stop + PATCH_RADIUS, size))
        for (first, stop), size in zip(spans, scaled.shape, strict=True)
    ]
    here = tuple(slice(first, stop) for first, stop in wider)
    there = tuple(slice(first + step, stop + step) for (first, stop), step in zip(wider, shift, strict=True))
    squares = (scaled[here] - scaled[there]) ** 2
    means = _window_mean(squares, "constant")
    # A patch at the border is smaller than the window: the share of the window that lies inside, axis by axis.
    for axis, size in enumerate(squares.shape):
        share = torch.ones(size, device=squares.device)
        share[0] -= 1 / 3
        share[-1] -= 1 / 3
        means /= share.view([-1 if other == axis else 1 for other in range(3)])
    inner = tuple(
        slice(first - low, stop - low) for (first, stop), (low, _) in zip(spans, wider, strict=True)
    )
    return means[inner]


def _within(ratio: torch.Tensor, limit: float) -> torch.Tensor:
    """Tell where a ratio is strictly between `limit` and its inverse; what is undefined (0 / 0) is not."""
    return (ratio > limit) & (ratio < 1.0 / limit)
