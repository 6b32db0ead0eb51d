"""Non-local means denoising, as `animaNLMeans -n 3` computes it.

Source: Coupe et al. 2008, "An optimized blockwise nonlocal means denoising filter for 3-D magnetic resonance
images", IEEE TMI 27(4), in the voxelwise form of Anima 4.2. Each voxel becomes a weighted mean of the voxels
around it whose 3x3x3 patches look like its own. Sizes are in voxels, whatever the spacing; there is no mask.
"""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from lesionwise.numba_cache import compiled

SEARCH_RADIUS = (
    3  # candidates come from the 7x7x7 voxels around a voxel; patches and local statistics are 3x3x3
)
MEAN_RATIO = 0.95  # a candidate's local mean and variance must be like the voxel's: ratio in (this, 1 / this)
VARIANCE_RATIO = 0.5
BETA = 1.0

REACH = SEARCH_RADIUS + 2
"""No voxel further away than this along an axis has a part in what a voxel becomes."""
SLAB_VOXELS = 2**22
"""So many are denoised at a time, each of which takes 28 bytes; the planes that slabs share are computed twice."""

# Threads are Python's, running compiled code without the interpreter lock: numba's own pools are not all safe
# when two callers use them at once.
_compiled = compiled(fastmath={"contract"})


def denoise(image: NDArray[np.floating], threads: int = 1) -> NDArray[np.float32]:
    """Return the denoised image, same shape; `image` is indexed (x, y, z) and finite.

    The strength follows from the noise variance of the whole image, background included, so an image gives
    another result when cropped or masked. Flat background stays exactly as it is.
    """
    noise = noise_variance(image)
    denoised = np.array(image, dtype=np.float32)
    if noise == 0.0:
        return denoised
    box = box_of_nonzero(image, margin=REACH)
    # The compiled loops run along the last axis: the longest one is x in most scans, and first in memory.
    inside, result = image[box].T, denoised[box].T
    thickness = max(1, SLAB_VOXELS // inside[0].size)
    for first in range(0, len(inside), thickness):
        start = max(0, first - REACH)
        voxels = inside[start : first + thickness + REACH]
        slab = _denoise_slab(voxels, noise, threads)[first - start :][:thickness]
        result[first : first + thickness] = slab
    return denoised


def _denoise_slab(image: NDArray[np.floating], noise: float, threads: int) -> NDArray[np.float32]:
    """Return an image, its axes in the order of the compiled loops, denoised with that variance of the noise."""
    voxels = np.ascontiguousarray(image, dtype=np.float64)
    means, variances = np.empty_like(voxels), np.empty_like(voxels)
    result = voxels.astype(np.float32)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda t: _local_statistics(voxels, means, variances, t, threads), range(threads)))
        list(
            pool.map(lambda t: _nlmeans(voxels, means, variances, noise, result, t, threads), range(threads))
        )
    return result


def noise_variance(image: NDArray[np.floating]) -> float:
    """Variance of the noise in the whole image, from how each voxel differs from its six neighbours' mean."""
    return float(_noise_variance(np.ascontiguousarray(image.T)))


def box_of_nonzero(image: NDArray[np.floating], margin: int) -> tuple[slice, slice, slice]:
    """Box of the voxels that are not zero, and `margin` more on each side."""
    nonzero = image != 0
    spans = []
    for axis in range(3):
        (where,) = np.nonzero(nonzero.any(axis=tuple(other for other in range(3) if other != axis)))
        spans.append(slice(max(0, int(where[0]) - margin), int(where[-1]) + 1 + margin))
    return spans[0], spans[1], spans[2]


@_compiled
def _noise_variance(image):  # type: ignore[no-untyped-def]
    nz, ny, nx = image.shape
    total = 0.0
    for z in range(nz):
        plane = 0.0
        for y in range(ny):
            for x in range(nx):
                neighbours = (
                    float(image[max(z - 1, 0), y, x])
                    + image[min(z + 1, nz - 1), y, x]
                    + image[z, max(y - 1, 0), x]
                    + image[z, min(y + 1, ny - 1), x]
                    + image[z, y, max(x - 1, 0)]
                    + image[z, y, min(x + 1, nx - 1)]
                )
                residual = image[z, y, x] - neighbours / 6.0
                plane += residual * residual
        total += plane
    return 6.0 / 7.0 * total / image.size


@_compiled
def _local_statistics(voxels, means, variances, thread, threads):  # type: ignore[no-untyped-def]
    """Mean and unbiased variance of the 3x3x3 voxels around each; outside, the edge voxels are repeated."""
    nz, ny, nx = voxels.shape
    for z in range(thread, nz, threads):
        for y in range(ny):
            for x in range(nx):
                total = 0.0
                total_of_squares = 0.0
                for dz in range(-1, 2):
                    for dy in range(-1, 2):
                        for dx in range(-1, 2):
                            value = voxels[
                                min(max(z + dz, 0), nz - 1),
                                min(max(y + dy, 0), ny - 1),
                                min(max(x + dx, 0), nx - 1),
                            ]
                            total += value
                            total_of_squares += value * value
                mean = total / 27.0
                means[z, y, x] = mean
                variances[z, y, x] = (total_of_squares / 27.0 - mean * mean) * 27.0 / 26.0


@_compiled
def _nlmeans(voxels, means, variances, noise, result, thread, threads):  # type: ignore[no-untyped-def]
    """Fill every `threads`-th row of `result`; rows lie along the last axis, which the names call x."""
    nz, ny, nx = voxels.shape
    weighted_sum, weight_sum, largest_weight = np.empty(nx), np.empty(nx), np.empty(nx)
    distances, alike, columns = np.empty(nx), np.empty(nx, np.uint8), np.empty(nx, np.int64)
    for row in range(thread, nz * ny, threads):
        z, y = row // ny, row % ny
        # A voxel of zero mean or variance has no candidate (the ratio is 0, infinite or undefined): it stays.
        first, last = nx, -1
        for x in range(nx):
            if variances[z, y, x] != 0.0 and means[z, y, x] != 0.0:
                first = min(first, x)
                last = x
        if last < 0:
            continue
        weighted_sum[:] = 0.0
        weight_sum[:] = 0.0
        largest_weight[:] = 0.0
        # A patch is cut where it leaves the image; the candidate's has the same cut shape and must be inside.
        below_z, above_z = min(z, 1), min(nz - 1 - z, 1)
        below_y, above_y = min(y, 1), min(ny - 1 - y, 1)
        rows_of_patch = (below_z + 1 + above_z) * (below_y + 1 + above_y)
        for cz in range(max(z - SEARCH_RADIUS, below_z), min(z + SEARCH_RADIUS, nz - 1 - above_z) + 1):
            for cy in range(max(y - SEARCH_RADIUS, below_y), min(y + SEARCH_RADIUS, ny - 1 - above_y) + 1):
                for shift in range(-SEARCH_RADIUS, SEARCH_RADIUS + 1):
                    if cz == z and cy == y and shift == 0:
                        continue
                    start, stop = max(first, -shift), min(last + 1, nx - shift)
                    found = _find_alike(
                        means[z, y, start:stop],
                        means[cz, cy, start + shift : stop + shift],
                        variances[z, y, start:stop],
                        variances[cz, cy, start + shift : stop + shift],
                        alike,
                        columns,
                    )
                    if found == 0:
                        continue
                    # One column more on each side, for the patches of the outermost voxels.
                    start, stop = max(first - 1, 0, -shift), min(last + 2, nx, nx - shift)
                    total = distances[start:stop]
                    total[:] = 0.0
                    for dz in range(-below_z, above_z + 1):
                        for dy in range(-below_y, above_y + 1):
                            here = voxels[z + dz, y + dy, start:stop]
                            there = voxels[cz + dz, cy + dy, start + shift : stop + shift]
                            for c in range(total.size):
                                difference = here[c] - there[c]
                                total[c] += difference * difference
                    offset = max(first, -shift)
                    for k in range(found):
                        x = offset + columns[k]
                        below_x, above_x = min(x, 1), min(nx - 1 - x, 1)
                        if x + shift < below_x or x + shift + above_x >= nx:
                            continue
                        distance = 0.0
                        for dx in range(-below_x, above_x + 1):
                            distance += distances[x + dx]
                        patch_size = rows_of_patch * (below_x + 1 + above_x)
                        weight = math.exp(-distance / (2.0 * BETA * noise * patch_size))
                        weighted_sum[x] += weight * voxels[cz, cy, x + shift]
                        weight_sum[x] += weight
                        largest_weight[x] = max(largest_weight[x], weight)
        for x in range(first, last + 1):
            if weight_sum[x] > 0.0:
                own = largest_weight[x]  # a voxel weighs as much as its best candidate
                result[z, y, x] = (weighted_sum[x] + own * voxels[z, y, x]) / (weight_sum[x] + own)


@_compiled
def _find_alike(mean, candidate_mean, variance, candidate_variance, alike, columns):  # type: ignore[no-untyped-def]
    """List in `columns` where the candidate's local statistics are like the voxel's, and return how many."""
    size = mean.size
    for c in range(size):
        mean_ratio = mean[c] / candidate_mean[c]
        variance_ratio = variance[c] / candidate_variance[c]
        alike[c] = (
            (mean_ratio > MEAN_RATIO)
            & (mean_ratio < 1.0 / MEAN_RATIO)
            & (variance_ratio > VARIANCE_RATIO)
            & (variance_ratio < 1.0 / VARIANCE_RATIO)
        )
    # Without a branch: whether two voxels are alike can't be foreseen, and wrong guesses cost more.
    found = 0
    for c in range(size):
        columns[found] = c
        found += alike[c]
    return found
