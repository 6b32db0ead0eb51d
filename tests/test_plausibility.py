"""Warnings of cases unlike those that the program was made for: they fire on such cases, and on no real or synthetic FLAIR."""

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from lesionwise.plausibility import (
    LEAST_CORRELATION,
    correlation,
    deep_shares,
    implausible_brain,
    implausible_contrast,
    implausible_pair,
    implausible_resolution,
    implausible_scan,
    relative_noise,
)
from lesionwise.preprocessing.normalization import normalize
from lesionwise.simulation.anatomy import random_anatomy
from lesionwise.simulation.timepoints import simulate_pair
from lesionwise.volume import read_mask, read_volume
from train.patches import normalised

ISOTROPIC = (1.0, 1.0, 1.0)


def of_scan(image, brain, spacing_mm=ISOTROPIC):
    """Return what is said of a scan that is on the network's grid, or nearly so, and hardly shaded."""
    return [
        *implausible_resolution("scan", spacing_mm),
        *implausible_scan("scan", image, brain, spacing_mm),
        *implausible_contrast("scan", normalize(image, brain), brain),
    ]


@pytest.fixture(scope="module")
def anatomy():
    return random_anatomy(np.random.default_rng(5))


@pytest.fixture(scope="module")
def pair(anatomy):
    return normalised(simulate_pair(anatomy, np.random.default_rng(6)))


def test_noise_is_measured_as_it_was_added():
    rng = np.random.default_rng(0)
    ramp = np.broadcast_to(np.linspace(90, 110, 40)[:, None, None], (40, 40, 40))
    brain = np.zeros(ramp.shape, bool)
    brain[2:-2, 2:-2, 2:-2] = True
    for sigma in (2.0, 8.0):
        image = ramp + rng.normal(0, sigma, ramp.shape)
        for spacing in (ISOTROPIC, (0.7, 0.7, 3.0)):
            assert relative_noise(image, brain, spacing) == pytest.approx(sigma / 100, rel=0.12)
    assert relative_noise(ramp, brain, ISOTROPIC) == pytest.approx(0, abs=1e-3)  # a slope is no noise


def test_correlation_by_hand():
    brain = np.ones((1, 1, 3), bool)
    first, second = np.array([[[0.0, 1.0, 2.0]]]), np.array([[[0.0, 2.0, 1.0]]])
    assert correlation(first, second, brain) == pytest.approx(0.5)
    assert correlation(first, np.array([[[0.0, 1.0, 9.0]]]), brain) == pytest.approx(1)  # 9 counts as 2
    assert correlation(first, np.ones_like(first), brain) == 1  # nothing to tell


def test_nothing_is_said_of_synthetic_flair(pair):
    for image in (pair.time1, pair.time2):
        assert not of_scan(image, pair.brain)
    assert not list(implausible_pair(pair.time1, pair.time2, pair.brain))


def test_a_second_scan_that_is_much_sharper_is_told(pair):
    thick = ndimage.gaussian_filter1d(pair.time1, 2.0, axis=2)
    assert "sharper" in " ".join(implausible_pair(thick, pair.time1, pair.brain))
    assert "sharper" not in " ".join(implausible_pair(pair.time1, thick, pair.brain))


def test_a_noisy_scan_is_told(pair):
    noisy = pair.time1 + np.random.default_rng(1).normal(0, 0.2, pair.time1.shape)
    assert "noisy" in " ".join(implausible_scan("time 2", noisy, pair.brain, ISOTROPIC))


def test_fluid_that_is_not_suppressed_is_told(anatomy):
    fluid = ndimage.gaussian_filter(anatomy.fluid().astype(np.float32), 0.7)
    bright = anatomy.flair * (1 - fluid) + 2.2 * fluid
    assert "not suppressed" in " ".join(
        implausible_contrast("time 1", normalize(bright, anatomy.brain), anatomy.brain)
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [(lambda image: image + 4, "number added"), (lambda image: image - 0.9, "standardised")],
)
def test_intensities_that_are_no_scanners_are_told(pair, change, said):
    assert said in " ".join(of_scan(change(pair.time2), pair.brain))


@pytest.mark.parametrize(
    ("spacing_mm", "odd"),
    [((1, 1, 1), False), ((0.72, 0.72, 3), False), ((5, 1, 1), False), ((1, 1, 6), True), ((2, 2, 2), True)],
)
def test_coarse_voxels_are_told(spacing_mm, odd):
    assert bool(list(implausible_resolution("time 1", spacing_mm))) is odd


def test_a_brain_of_impossible_size_is_told():
    brain = np.ones((100, 100, 100), bool)
    assert not list(implausible_brain(brain, 1.0))
    assert "3000 ml" in " ".join(implausible_brain(brain, 3.0))
    assert "500 ml" in " ".join(implausible_brain(brain, 0.5))


@pytest.mark.shared
@pytest.mark.parametrize("patient", ["patient07", "patient19", "patient26"])
def test_t1_and_t2_are_told_from_flair(shared, patient):
    folder = shared / "data" / "ljubljana" / "mni" / patient
    images = {
        name: np.clip(np.asarray(nib.load(folder / f"{name}.nii.gz").dataobj), 0, None)
        for name in ("flair", "t1", "t2")
    }
    bright = images["t1"] > 0.05 * np.percentile(images["t1"], 99)
    brain = ndimage.binary_fill_holes(ndimage.binary_opening(bright, iterations=2))
    assert not of_scan(images["flair"], brain)
    assert "T1-weighted" in " ".join(of_scan(images["t1"], brain))
    assert "T2-weighted" in " ".join(of_scan(images["t2"], brain))


@pytest.mark.shared
def test_real_pairs_are_told_from_two_patients(shared):
    patients = {}
    for name in ("patient01", "patient19"):
        folder = shared / "data" / "ljubljana" / "pairs" / name
        scans = [read_volume(folder / f"flair_time0{k}_on_middle_space.nii.gz") for k in (1, 2)]
        brain = read_mask(folder / "brain_mask_flair.nii.gz").data
        for scan in scans:
            assert not list(implausible_scan(name, scan.data, brain, scan.spacing_mm))
            assert not list(implausible_resolution(name, scan.spacing_mm))
        assert not list(implausible_brain(brain, scans[0].voxel_mm3))
        patients[name] = [normalize(scan.data, brain) for scan in scans], brain
        assert not list(implausible_pair(*patients[name][0], brain)), name
    scalp = read_mask(shared / "data" / "ljubljana" / "pairs" / "patient19" / "brain_mask.nii.gz")
    assert list(implausible_brain(scalp.data, scalp.voxel_mm3))  # it includes the scalp

    (first, brain1), (second, brain2) = patients.values()
    boxes = [tuple(ndimage.find_objects(mask.astype(np.uint8))[0]) for mask in (brain1, brain2)]
    shape = brain1[boxes[0]].shape
    other = second[1][boxes[1]] * brain2[boxes[1]]
    stretched = ndimage.zoom(other, [n / m for n, m in zip(shape, other.shape, strict=True)], order=1)
    one, both = first[0][boxes[0]], brain1[boxes[0]] & (stretched > 0)
    assert correlation(one, stretched, both) < LEAST_CORRELATION
    assert "of one patient" in " ".join(implausible_pair(one, stretched, both))


def test_a_small_brain_has_no_inner_part():
    assert deep_shares(np.full((9, 9, 9), 5.0), np.ones((9, 9, 9), bool)) == (0, 0)
