"""Scans finer than the network's voxels: joined to about 1 mm before any work is done on them, and the way back.

The network sees voxels of 1 mm. Of a scan of 0.5 mm it sees no more when brain extraction, bias correction and denoising
have worked on eight times the voxels; many such scans are interpolated by the scanner to begin with.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray
from torch.nn import functional

from lesionwise.common_space import resample
from lesionwise.errors import PreprocessingError
from lesionwise.network_grid import SPACING_MM
from lesionwise.scan_pair import WORKING_ORDER, ScanPair, Study
from lesionwise.volume import Volume, on_grid, to_orientation

ROUNDING_MM = 1e-3
"""A header's 0.5 mm may be 0.50004."""


TOO_THIN = "the brain mask is so thin that no voxel of 1 mm is more than half inside; check the mask"


def at_working_resolution(pair: ScanPair) -> ScanPair:
    """Return the pair with voxels joined along each axis of which two or more fit into 1 mm; most pairs as they are.

    Scans become means of the joined voxels; the brain mask what is more than half brain. Raises `PreprocessingError` where
    that is nothing.
    """
    time1, time2 = (join_voxels(scan) for scan in (pair.time1, pair.time2))
    if pair.brain is None or time1 is pair.time1:
        return replace(pair, time1=time1, time2=time2)
    brain = join_mask(pair.brain)
    if not brain.data.any():
        raise PreprocessingError(TOO_THIN)
    return ScanPair(time1, time2, brain)


def outputs_as_read(study: Study, joined: ScanPair, pair: ScanPair) -> Study:
    """Return the study of a joined pair with outputs that lie on the grid of the scan as it was read.

    Outputs on the half-way grid stay there.
    """
    grids = ((joined.time1, pair.time1), (joined.time2, pair.time2))
    found = next(
        ((small, read) for small, read in grids if small is study.output and small is not read), None
    )
    if found is None:
        return study
    small, read = found

    def way_back(array: NDArray[np.float32]) -> NDArray[np.float32]:
        on_small = study.to_output(array)
        # The outermost voxels as read lie beyond the middle of the joined ones that they are part of.
        return resample(on_small, small.affine, np.eye(4), read.data.shape, read.affine, outside="nearest")

    return replace(study, output=read, way_back=way_back)


def joined_voxels(spacing_mm: Iterable[float]) -> tuple[int, ...]:
    """Return how many voxels along each axis make one to work on: as many as fit into 1 mm, at least one."""
    return tuple(max(1, int(SPACING_MM / (size - ROUNDING_MM))) for size in spacing_mm)


def join_voxels(volume: Volume) -> Volume:
    """Return a volume's means over blocks, in the working order, so that the way it is stored changes nothing."""
    turned = to_orientation(volume, WORKING_ORDER)
    # Not the header's sizes: of scans on one grid only the affines are equal to the bit.
    factors = joined_voxels(voxel_sizes(turned.affine))
    if factors == (1, 1, 1):
        return volume
    voxels = torch.from_numpy(np.ascontiguousarray(turned.data))[None]
    # With ceil_mode the last block of an axis may lack planes: its mean is of those that it has.
    data = functional.avg_pool3d(voxels, factors, ceil_mode=True)[0].numpy()
    affine = turned.affine @ np.diag([*factors, 1.0])
    affine[:3, 3] += turned.affine[:3, :3] @ ((np.array(factors) - 1) / 2)
    return on_grid(data, affine, volume)


def join_mask(mask: Volume) -> Volume:
    """Return a mask over the blocks that `join_voxels` joins: those of which more than half is inside."""
    share = join_voxels(replace(mask, data=mask.data.astype(np.float32)))
    return replace(share, data=share.data > 0.5)
