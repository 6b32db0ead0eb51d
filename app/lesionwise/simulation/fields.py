"""Random smooth fields and warps: pure functions on (x, y, z) arrays with 1 mm voxels."""

import numpy as np
import torch
from torch.nn import functional


def smooth_field(shape: tuple[int, ...], rng: np.random.Generator, smoothness_mm: float) -> np.ndarray:
    """Return a random float32 field of the given shape: about zero mean and unit variance, smooth over `smoothness_mm`.

    White noise on a coarse grid, brought to the full one by trilinear interpolation: far cheaper than a wide filter.
    """
    coarse = [max(2, round(n / smoothness_mm) + 1) for n in shape]
    noise = torch.from_numpy(rng.standard_normal((1, 1, *coarse)).astype(np.float32))
    fine = functional.interpolate(noise, size=shape, mode="trilinear", align_corners=True)
    # Interpolation halves the variance on average; the factor brings it back to about one.
    return np.asarray(fine[0, 0].numpy() * np.float32(1.5))


def displacement_field(
    shape: tuple[int, ...], rng: np.random.Generator, amplitude_mm: float, smoothness_mm: float
) -> np.ndarray:
    """Return random displacements, float32 (3, x, y, z) in mm, with standard deviation about `amplitude_mm`."""
    return np.stack([smooth_field(shape, rng, smoothness_mm) for _ in range(3)]) * np.float32(amplitude_mm)


def warp(
    images: np.ndarray, matrix: np.ndarray, shift_mm: np.ndarray, displacement_mm: np.ndarray | None = None
) -> np.ndarray:
    """Resample images (channels, x, y, z) linearly at `matrix @ (p - c) + c + shift + displacement(p)`; c is the centre.

    Outside the grid the images are 0. Returns float32 of the same shape.
    """
    shape = images.shape[1:]
    size = torch.tensor(shape, dtype=torch.float32)
    # grid_sample counts x last and measures in half-widths: build it in voxels, then convert.
    axes = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in shape]
    m = torch.from_numpy(np.asarray(matrix, dtype=np.float32))
    grid = torch.empty((*shape, 3))
    for row in range(3):
        where = (
            m[row, 0] * axes[0][:, None, None]
            + m[row, 1] * axes[1][:, None]
            + m[row, 2] * axes[2]
            + float(shift_mm[row])
        )
        if displacement_mm is not None:
            where = where + torch.from_numpy(displacement_mm[row])
        grid[..., 2 - row] = where * (2.0 / (size[row] - 1))
    source = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32))[None]
    return np.asarray(functional.grid_sample(source, grid[None], align_corners=True)[0].numpy())
