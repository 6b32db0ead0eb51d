"""A small made-up case, and a network whose weights were set by hand to answer "brighter at time 2".

Together they run the whole program in seconds with lesions that are known.
"""

from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from lesionwise.challenge_layout import TIME1, TIME2
from lesionwise.lesions import OperatingPoint
from lesionwise.network import UNet
from lesionwise.weights import save_weights

WIDTH, GROUPS = 8, 8
SHAPE = (44, 48, 40)
AFFINE = nib.affines.from_matvec(np.diag([-1.0, -1.0, 1.2]), [21.0, 23.0, -20.0])
NEW_LESIONS_VOXELS = ((16, 20, 18), (28, 30, 24))
OLD_LESION_VOXELS = (22, 14, 16)
LESION_RADIUS_MM = 3.2


def ball(centre, radius_mm):
    voxels = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    return np.linalg.norm((voxels - np.array(centre)) * [1, 1, 1.2], axis=-1) <= radius_mm


def brain():
    """Return the brain mask: an ellipsoid with room on all sides."""
    voxels = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    return (((voxels - (np.array(SHAPE) - 1) / 2) / [18, 20, 14]) ** 2).sum(axis=-1) <= 1


def new_lesions():
    """Return the truth: what is brighter at time 2 only."""
    return np.logical_or.reduce([ball(centre, LESION_RADIUS_MM) for centre in NEW_LESIONS_VOXELS])


def time_points():
    """Return both time points as float32 (x, y, z) of whole numbers: a head with skull and lesions."""
    rng = np.random.default_rng(7)
    inside = brain()
    scans = []
    for time in (1, 2):
        scan = np.where(inside, 400.0, 20.0)
        scan[~inside & (np.roll(inside, 3, 0) | np.roll(inside, -3, 0))] = 250
        scan[ball(OLD_LESION_VOXELS, LESION_RADIUS_MM)] = 640
        if time == 2:
            scan[new_lesions()] = 640
        scans.append(np.rint(scan + rng.normal(0, 8, SHAPE)).clip(0).astype(np.float32))
    return scans


def write_case(folder: Path):
    """Write both time points and the brain mask as int16/uint8 and return their paths."""
    paths = [folder / name for name in ("time1.nii.gz", "time2.nii.gz", "brain.nii.gz")]
    for path, data in zip(
        paths, [*(scan.astype(np.int16) for scan in time_points()), brain().astype(np.uint8)], strict=True
    ):
        made = nib.Nifti1Image(data, AFFINE)
        made.set_sform(AFFINE, code=1)
        made.set_qform(AFFINE, code=1)
        made.header.set_xyzt_units("mm", "sec")
        nib.save(made, path)
    return paths


def difference_network() -> UNet:
    """Return a U-Net that marks what is brighter at time 2 by more than 0.3 of the normalised intensity.

    Only the finest level is in use: all other weights are 0, so that all it does can be followed by hand.
    """
    network = UNet(width=WIDTH, groups=GROUPS)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for module in network.modules():
            if isinstance(module, torch.nn.GroupNorm):
                module.weight.fill_(1)
        middle = (1, 1, 1)
        first, _, _, second, _ = network.encoder1
        first.weight[0, 0][middle], first.weight[0, 1][middle], first.bias[0] = -5, 5, -1.5
        second.weight[0, 0][middle] = 1  # normalised: what stands out has many standard deviations
        _, joined, _ = network.decoder1.convolution
        joined.weight[0, 4 * WIDTH][middle] = 1  # the first channel of the skip connection
        network.head.weight[1, 0][middle], network.head.bias[1] = 4, -4
    return network.eval()


def write_weights(folder: Path) -> Path:
    """Write that network as a folder of weights and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(
        folder, difference_network(), WIDTH, GROUPS, OperatingPoint(0.5), {"training": "none: set by hand"}
    )
    return folder


BRAIN_MASK = "brain.nii.gz"
QUICK_BATCH = (
    *("--brain-mask-name", BRAIN_MASK, "--no-bias-correction", "--no-denoise"),
    *("--overlap", "0", "--device", "cpu"),
)
"""Options with which `batch` takes less than a second for such a patient."""


def write_patient(folder: Path) -> Path:
    """Write the case in the challenge's layout, with a brain mask, and return the folder."""
    folder.mkdir(parents=True)
    for path, name in zip(write_case(folder), (TIME1, TIME2, BRAIN_MASK), strict=True):
        path.rename(folder / name)
    return folder
