"""How far two time points are apart is measured, whatever their contrasts, and told when it is much."""

import numpy as np
import pytest
from scipy import ndimage

from benchmarks.bench_registration import centre_mm, motion_about
from lesionwise.challenge_layout import TIME1, TIME2
from lesionwise.common_space import resample
from lesionwise.network_grid import network_grid
from lesionwise.plausibility import LARGEST_RESIDUAL_MM, implausible_pair
from lesionwise.preprocessing.normalization import normalize
from lesionwise.preprocessing.registration_residual import registration_residual_mm
from lesionwise.volume import read_mask, read_volume


def warns(residual_mm):
    alike = np.arange(8.0).reshape(2, 2, 2)
    return "do not lie on each other" in " ".join(
        implausible_pair(alike, alike, alike >= 0, residual_mm=residual_mm)
    )


@pytest.mark.parametrize("shift_mm", [(0, 0, 0), (1, 0, 0), (2, -1, 2)])  # 0, 1 and 3 mm
def test_a_known_shift_is_measured_across_contrasts(shift_mm):
    rng = np.random.default_rng(4)
    shape = np.array((110, 120, 100))
    structure = ndimage.gaussian_filter(rng.normal(size=shape), 4)
    structure = 1 + 0.3 * structure / structure.std()
    other = ndimage.shift(np.clip(structure, 0.1, None) ** 0.5, shift_mm, order=1, mode="nearest")
    other[50:56, 60:66, 40:46] += 0.8  # a new lesion
    away = np.stack(np.indices(shape), axis=-1) - (shape - 1) / 2
    brain = ((away / (0.47 * shape)) ** 2).sum(axis=-1) < 1
    first, second = (np.where(brain, image + rng.normal(0, 0.03, shape), 0) for image in (structure, other))
    found = registration_residual_mm(first, second, brain)
    assert found == pytest.approx(np.linalg.norm(shift_mm), abs=0.3)
    assert warns(found) is (shift_mm == (2, -1, 2))


def test_what_cannot_be_measured_is_not():
    small = np.ones((40, 40, 40), bool)
    assert registration_residual_mm(small * 1.0, small * 1.0, small) is None
    large = np.ones((90, 90, 90), bool)
    assert registration_residual_mm(large * 1.0, large * 1.0, large) is None  # constant
    assert not warns(None)


@pytest.mark.shared
@pytest.mark.parametrize("patient", ["patient01", "patient19"])
def test_real_pairs_as_they_are_and_moved(shared, patient):
    folder = shared / "data" / "ljubljana" / "pairs" / patient
    time1, time2 = read_volume(folder / TIME1), read_volume(folder / TIME2)
    brain = read_mask(folder / "brain_mask_flair.nii.gz")
    grid = network_grid(brain.data, brain.affine)

    def residual_mm(scan):
        first, second = (
            grid.brain_to_network(normalize(data, brain.data), brain.data) for data in (time1.data, scan)
        )
        return registration_residual_mm(first[0], second[0], first[1])

    assert residual_mm(time2.data) < 0.5
    motion = motion_about(centre_mm(brain), (2.0, 1.0, 2.0), (2.0, 1.0, 2.0))
    moved = resample(time2.data, time2.affine, motion, time2.data.shape, time2.affine)
    points = np.argwhere(brain.data)[::100] @ brain.affine[:3, :3].T + brain.affine[:3, 3]
    truth = np.linalg.norm(points @ motion[:3, :3].T + motion[:3, 3] - points, axis=1).mean()
    assert truth > LARGEST_RESIDUAL_MM + 0.5
    found = residual_mm(moved)
    assert found == pytest.approx(truth, abs=0.5)
    assert warns(found)
