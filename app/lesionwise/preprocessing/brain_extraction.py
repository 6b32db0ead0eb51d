"""Where the brain is: a learned brain mask of each time point, and the gate that the masks must pass.

The two networks are those of deepbet 1.0.2 (Fisch et al. 2024, "deepbet: fast brain extraction of T1-weighted
MRI using convolutional neural networks", Comput. Biol. Med. 179). They were trained on T1 images and serve
FLAIR once the image is cropped to the head. Their files come with the installed package and are checked
before use; what they expect (sizes, sampling, intensities, the box between the stages) follows that package.
"""

import hashlib
import importlib.metadata
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
import torch
from nibabel import affines, orientations
from numpy.typing import NDArray
from scipy import ndimage

from lesionwise.errors import TIMES, PreprocessingError, WeightsError
from lesionwise.volume import nearest_axes

HEAD_MARGIN_MM = 10.0
SMALLEST_HEAD_PART = 0.01  # of all bright voxels; smaller components are specks in the background
PROBABILITY_THRESHOLD = 0.5
SMALLEST_DOMINANT_PART = 0.9  # of all brain voxels, in the largest component
PLAUSIBLE_BRAIN_ML = (700.0, 2200.0)
SMALLEST_DICE = 0.85  # of the brain masks of the two time points

# What the networks expect.
INTENSITY_QUANTILES = (0.005, 0.995)
TARGET_MEAN, TARGET_STANDARD_DEVIATION = 0.449, 0.226
BRAIN_BOX_MARGIN = 0.1  # of the brain's size, on each side
BRAIN_BOX_FILL = 0.02  # a plane belongs to the brain's box if more than this part of it is brain

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class _Network:
    """A TorchScript file of the deepbet package, and the side of the cube of voxels that it takes."""

    path: str
    sha256: str
    side: int


BOX_NETWORK = _Network(
    "data/models/bbox_model.pt", "39a7b2b5f799faa1391ea97bfcdc0b9299f20d84f2316a4ff8918dc4685e40aa", 128
)
MASK_NETWORK = _Network(
    "data/models/model.pt", "de8ee7c69654d0dd3935dc4a5d84571d8ecf4637a6bfc01df399c4c2bc86e0fd", 256
)


def extract_brain(
    data: NDArray[np.floating], affine: NDArray[np.floating], threads: int = 1
) -> NDArray[np.bool_]:
    """Return the brain mask of one whole-head scan, on its own grid.

    `data` is indexed (x, y, z) in any orientation; `affine` (4x4, voxels to mm, RAS+) tells which.

    Raises PreprocessingError where no head or no brain in one piece is found, WeightsError where deepbet's
    networks are missing or changed.
    """
    to_canonical = nearest_axes(affine)
    canonical = np.ascontiguousarray(orientations.apply_orientation(data, to_canonical), dtype=np.float32)
    canonical_affine = affine @ orientations.inv_ornt_aff(to_canonical, data.shape)

    head = _head_box(canonical, affines.voxel_sizes(canonical_affine))
    mask = np.zeros(canonical.shape, dtype=bool)
    mask[head] = _brain_probability(canonical[head], threads) > PROBABILITY_THRESHOLD
    mask[head] = ndimage.binary_fill_holes(_dominant_component(mask[head]))

    from_canonical = orientations.ornt_transform(orientations.axcodes2ornt("RAS"), to_canonical)
    return np.ascontiguousarray(orientations.apply_orientation(mask, from_canonical))


def gate_brain_masks(
    mask1: NDArray[np.bool_], mask2: NDArray[np.bool_], voxel_volume_mm3: float
) -> NDArray[np.bool_]:
    """Return the union of the brain masks of two time points on one grid, if both can be believed.

    Raises PreprocessingError where they are not one brain: the volume of either or of the union is not within
    700 to 2200 ml, one falls apart, or their Dice is 0.85 or less.
    """
    union = mask1 | mask2
    names = (*TIMES, "both time points together")
    for name, mask in zip(names, (mask1, mask2, union), strict=True):
        volume_ml = int(mask.sum()) * voxel_volume_mm3 / 1000
        if not PLAUSIBLE_BRAIN_ML[0] <= volume_ml <= PLAUSIBLE_BRAIN_ML[1]:
            raise not_a_brain(
                f"the brain mask of {name} has {volume_ml:.0f} ml, "
                f"not {PLAUSIBLE_BRAIN_ML[0]:.0f} to {PLAUSIBLE_BRAIN_ML[1]:.0f} ml"
            )
        _dominant_component(mask)
    dice = 2 * int((mask1 & mask2).sum()) / (int(mask1.sum()) + int(mask2.sum()))
    if dice <= SMALLEST_DICE:
        raise not_a_brain(
            f"the brain masks of the two time points overlap with a Dice of only {dice:.2f} "
            f"(more than {SMALLEST_DICE} is needed)"
        )
    return union


def not_a_brain(seen: str) -> PreprocessingError:
    """Return the error that says what was found instead of a brain, and what to do about one pair."""
    return PreprocessingError(f"brain extraction failed: {seen}", "check the scans or give --brain-mask FILE")


def _head_box(data: NDArray[np.float32], spacing_mm: NDArray[np.floating]) -> Box:
    """Box of all that is brighter than Otsu's threshold, specks left out, with a margin."""
    bright = sitk.GetArrayFromImage(sitk.OtsuThreshold(sitk.GetImageFromArray(data), 0, 1)) > 0
    labels, count = ndimage.label(bright)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    kept = sizes >= SMALLEST_HEAD_PART * bright.sum()
    kept[0] = False
    if not kept.any():
        raise not_a_brain("nothing in the image stands out from the background")
    margin = [int(np.ceil(HEAD_MARGIN_MM / size)) for size in spacing_mm]
    spans = []
    for axis, (where, size) in enumerate(zip(_occupied(kept[labels], 0.0), data.shape, strict=True)):
        spans.append(slice(max(0, where[0] - margin[axis]), min(size, where[-1] + 1 + margin[axis])))
    return spans[0], spans[1], spans[2]


def _occupied(mask: NDArray[np.bool_], fill: float) -> list[NDArray[np.intp]]:
    """For each axis, the planes of which more than the part `fill` is set."""
    return [np.nonzero(mask.mean(axis=axes) > fill)[0] for axes in ((1, 2), (0, 2), (0, 1))]


def _dominant_component(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest component (26 neighbours) of a mask."""
    labels, _ = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    total = int(sizes.sum())
    if total == 0:
        raise not_a_brain("no brain was found")
    if sizes.max() < SMALLEST_DOMINANT_PART * total:
        raise not_a_brain(f"the brain mask falls apart, its largest part is {sizes.max() / total:.0%} of it")
    dominant: NDArray[np.bool_] = labels == sizes.argmax()
    return dominant


def _brain_probability(head: NDArray[np.float32], threads: int) -> NDArray[np.float32]:
    """Probability of brain at each voxel of a head in canonical orientation (RAS)."""
    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            small = _resample(torch.from_numpy(head), (BOX_NETWORK.side,) * 3)
            low, high = (float(np.quantile(small.numpy(), q)) for q in INTENSITY_QUANTILES)
            coarse = _run(BOX_NETWORK, small, low, high).numpy() > PROBABILITY_THRESHOLD
            box = _brain_box(coarse, head.shape)
            inside = torch.from_numpy(head[box])
            fine = _run(MASK_NETWORK, _resample(inside, (MASK_NETWORK.side,) * 3), low, high)
            probability = np.zeros(head.shape, dtype=np.float32)
            probability[box] = _resample(fine, inside.shape).numpy()
    finally:
        torch.set_num_threads(threads_before)
    return probability


def _brain_box(coarse: NDArray[np.bool_], shape: tuple[int, ...]) -> Box:
    """Box of the brain with a margin, on a grid of `shape`, from a coarse mask that covers the same space."""
    spans = []
    for where, coarse_size, size in zip(
        _occupied(_dominant_component(coarse), BRAIN_BOX_FILL), coarse.shape, shape, strict=True
    ):
        if where.size == 0:
            raise not_a_brain("what looks like brain is too small")
        scale = size / coarse_size
        margin = BRAIN_BOX_MARGIN * (where[-1] + 1 - where[0])
        spans.append(
            slice(
                max(0, round(scale * (where[0] - margin))), min(size, round(scale * (where[-1] + 1 + margin)))
            )
        )
    return spans[0], spans[1], spans[2]


def _resample(data: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Nearest-neighbour sampling, as the networks were trained with."""
    return torch.nn.functional.interpolate(data[None, None], tuple(shape), mode="nearest-exact")[0, 0]


def _run(network: _Network, data: torch.Tensor, low: float, high: float) -> torch.Tensor:
    if not high > low:
        raise not_a_brain("nearly all of the image has one intensity")
    scaled = ((data - low) / (high - low)).clamp(0, 1)
    standardised = (scaled - scaled.mean()) / scaled.std()
    model = _load(network)
    brain: torch.Tensor = model(TARGET_MEAN + TARGET_STANDARD_DEVIATION * standardised[None, None])[0, 1]
    return brain


def _load(network: _Network) -> torch.jit.ScriptModule:
    """Load a network from the very bytes that were verified; deepbet's own code is not imported."""
    try:
        file = importlib.metadata.distribution("deepbet").locate_file(network.path)
        content = Path(str(file)).read_bytes()
    except (importlib.metadata.PackageNotFoundError, OSError) as error:
        raise WeightsError(
            f"brain extraction needs {network.path} of the package deepbet 1.0.2, which is not installed; "
            "install lesionwise's requirements again"
        ) from error
    if hashlib.sha256(content).hexdigest() != network.sha256:
        raise WeightsError(
            f"{network.path} of the package deepbet is not the file of version 1.0.2 (sha256 differs); "
            "install lesionwise's requirements again"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        model: torch.jit.ScriptModule = torch.jit.load(io.BytesIO(content), map_location="cpu").eval()  # type: ignore[no-untyped-call]
    return model
