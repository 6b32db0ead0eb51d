import nibabel as nib
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lesionwise.errors import PreprocessingError
from lesionwise.preprocessing.normalization import kde_peak, normalize


def direct_kde(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The published recipe with a kernel on every value: the intensities, and the density at each."""
    q = np.percentile(values, 99)
    kept = values[values <= q]
    bandwidth = q / 80
    grid = np.linspace(kept.min() - 3 * bandwidth, kept.max() + 3 * bandwidth, 80)
    return grid, np.array([np.exp(-0.5 * ((x - kept) / bandwidth) ** 2).sum() for x in grid])


def check_peak(values: np.ndarray) -> None:
    """Check that the peak is one of the grid's intensities, and as high as any: two may be equal but for the binning."""
    grid, density = direct_kde(values)
    peak = kde_peak(values)
    nearest = np.abs(grid - peak).argmin()
    assert peak == pytest.approx(grid[nearest], rel=1e-3)
    assert density[nearest] == pytest.approx(density.max(), rel=1e-3)


def brain_values(seed: int, scale: float = 100.0) -> np.ndarray:
    """Fluid, white and grey matter, a few bright lesions."""
    rng = np.random.default_rng(seed)
    parts = [(2.0, 0.4, 2000), (10.0, 0.8, 5000), (13.0, 0.9, 4000), (22.0, 2.0, 90)]
    return scale * np.abs(np.concatenate([rng.normal(m, s, n) for m, s, n in parts]))


@given(st.integers(0, 2**32 - 1))
@example(1565)  # as high to a ten-thousandth at two intensities
def test_binning_does_not_move_the_peak(seed):
    check_peak(brain_values(seed))


def test_the_peak_is_the_commonest_intensity():
    # One grid step is a 79th of the range, 13 to 14 here.
    assert kde_peak(brain_values(0)) == pytest.approx(1000, abs=20)


def test_bright_lesions_do_not_move_the_peak():
    values = brain_values(1)
    with_artefact = np.append(values, np.full(20, 1e6))
    assert kde_peak(with_artefact) == pytest.approx(kde_peak(values), rel=0.02)


@pytest.mark.parametrize("stray", [-300.0, -5000.0, -32768.0])
def test_a_stray_negative_voxel_does_not_move_the_peak(stray):
    values = brain_values(1)  # peak near 1000, 99th percentile near 2000
    assert kde_peak(np.append(values, stray)) == pytest.approx(kde_peak(values), rel=0.05)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.49])
@pytest.mark.parametrize("fill", [0.0, 0.003, -1.0, 20.0, 200.0])
def test_what_the_scan_did_not_reach_or_clipped_is_not_the_commonest_intensity(fill, share):
    values = brain_values(1)  # peak near 1000, 99th percentile near 1500
    filled = np.append(values, np.full(round(len(values) * share / (1 - share)), fill))
    assert kde_peak(filled) == pytest.approx(kde_peak(values), rel=0.04)


def test_the_flank_of_a_dark_peak_is_no_peak():
    values = brain_values(1)
    # At 0.15 of the 99th percentile, about 220, it is commoner than anything in the brain.
    air = np.random.default_rng(0).normal(150, 40, 20_000)
    assert kde_peak(np.append(values, air)) == pytest.approx(kde_peak(values), rel=0.04)


@given(st.floats(1e-3, 1e4))
def test_normalising_takes_the_unit_away(scale):
    values = brain_values(2).reshape(-1, 2, 1)
    mask = np.ones(values.shape, dtype=bool)
    np.testing.assert_allclose(normalize(values * scale, mask), normalize(values, mask), rtol=1e-5)


def test_normalised_brain_has_its_peak_at_one_and_the_outside_does_not_count():
    values = brain_values(3).reshape(-1, 2, 1)
    image = np.concatenate([values, np.full_like(values, 5000.0)])
    mask = np.zeros(image.shape, dtype=bool)
    mask[: len(values)] = True
    normalized = normalize(image, mask)
    assert normalized.dtype == np.float32
    assert kde_peak(normalized[mask]) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(normalized[~mask], 5000 / kde_peak(image[mask]), rtol=1e-6)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.array([]), "the brain mask is empty"),
        (np.zeros(50), "run from 0 to 0"),
        (np.full(50, 7.0), "run from 7 to 7"),
        (-brain_values(4), "run from -"),
        (np.append(np.full(1000, -3.0), np.arange(100)), "half of the intensities .* are -3"),
        (-np.log(np.linspace(1, 1e-4, 10_000)), "no intensity above 0.689"),
    ],
    ids=["nothing", "zeros", "constant", "negative", "mostly negative", "fewer the brighter"],
)
def test_what_cannot_be_normalised_is_refused(values, said):
    with pytest.raises(PreprocessingError, match=said) as error:
        kde_peak(values)
    assert error.value.exit_code == 4
    assert "\n" not in str(error.value)


@pytest.mark.shared
def test_real_time_points_have_the_direct_estimates_peak(shared):
    golden = shared / "golden" / "preprocessing"
    mask = nib.load(golden / "brain_mask.nii.gz").get_fdata() > 0
    for time_point in ("time01", "time02"):
        check_peak(nib.load(golden / f"{time_point}_n4_nlm.nii.gz").get_fdata()[mask])
