"""Measure the registration on known motions of real pairs: `python -m benchmarks.bench_registration PAIRS`.

`PAIRS`: a folder of patients in the challenge's layout whose scans lie on one grid already, with a brain mask
`brain_mask_flair.nii.gz`. The motion is put into the affine of time 2, so that it is exact and costs no interpolation;
the error is the mean distance, over the brain, between where registration and truth bring a point. The scans' own
registration is not perfect either: the error with no motion is its and this one's together.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from nibabel.affines import apply_affine
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from lesionwise.challenge_layout import TIME1, TIME2
from lesionwise.preprocessing.registration import register
from lesionwise.volume import Volume, read_mask, read_volume

BAR_MM = 0.5
MOTIONS = {  # rotation vector in degrees, shift in mm
    "none": ((0, 0, 0), (0, 0, 0)),
    "small": ((3, -2, 4), (5, -3, 4)),
    "30 degrees pitch": ((30, 0, 0), (0, 0, 0)),
    "30 degrees yaw, 40 mm": ((0, 0, -30), (24, -20, 25)),
    "30 degrees about all, 40 mm": ((17, -18, 17), (-20, 30, -17)),
    "20 degrees roll, 40 mm": ((0, 20, 0), (0, 0, 40)),
}

Matrix = NDArray[np.float64]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("pairs", type=Path)
    options.add_argument("--threads", type=int, default=2)
    arguments = options.parse_args()
    print("Registration: mean error in the brain in mm, similarity, CPU seconds")
    for patient in sorted(path for path in arguments.pairs.iterdir() if path.is_dir()):
        time1, time2 = read_volume(patient / TIME1), read_volume(patient / TIME2)
        brain = read_mask(patient / "brain_mask_flair.nii.gz")
        for name, (degrees, shift_mm) in MOTIONS.items():
            truth = motion_about(centre_mm(brain), degrees, shift_mm)
            start = time.process_time()
            found = register(time1, replace(time2, affine=truth @ time2.affine), arguments.threads)
            seconds = time.process_time() - start
            error = mean_error_mm(found.matrix, truth, brain)
            verdict = "ok" if error <= BAR_MM else f"MORE THAN {BAR_MM}"
            print(
                f"  {patient.name:12} {name:28} {error:6.3f} {found.similarity:6.3f} {seconds:6.1f}  {verdict}",
                flush=True,
            )


def motion_about(
    centre: NDArray[np.float64], degrees: tuple[float, ...], shift_mm: tuple[float, ...]
) -> Matrix:
    """Return a rotation about a point in mm, and a shift, as 4 x 4 matrix."""
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_rotvec(degrees, degrees=True).as_matrix()
    motion[:3, 3] = centre + shift_mm - motion[:3, :3] @ centre
    return motion


def centre_mm(brain: Volume) -> NDArray[np.float64]:
    """Return the centre of a mask in mm."""
    return np.asarray(apply_affine(brain.affine, np.argwhere(brain.data).mean(axis=0)))


def mean_error_mm(found: Matrix, truth: Matrix, brain: Volume) -> float:
    """Return how far apart two motions bring a point of the brain, on average."""
    points = apply_affine(brain.affine, np.argwhere(brain.data)[::50])
    distances = np.linalg.norm(apply_affine(found, points) - apply_affine(truth, points), axis=1)
    return float(distances.mean())


if __name__ == "__main__":
    main()
