import nibabel as nib
import numpy as np
import pytest

from lesionwise.preprocessing.histogram_matching import match_histogram


@pytest.fixture
def brain() -> np.ndarray:
    """Intensities 50 to 250 in a box, zeros around it."""
    image = np.zeros((20, 18, 16), dtype=np.float32)
    image[4:-4, 4:-4, 4:-4] = np.random.default_rng(0).uniform(50, 250, (12, 10, 8))
    return image


def test_an_image_matched_to_itself_stays(brain):
    np.testing.assert_allclose(match_histogram(brain, brain), brain, atol=1e-3)


@pytest.mark.parametrize("gain", [0.5, 3.0])
def test_a_gain_is_undone(brain, gain):
    np.testing.assert_allclose(match_histogram(gain * brain, brain), brain, atol=1e-2)


def test_landmarks_meet_and_the_order_stays(brain):
    curved = (brain / 250) ** 2 * 900
    matched = match_histogram(curved, brain)
    assert matched.dtype == np.float32
    assert matched.shape == brain.shape
    assert matched.max() == pytest.approx(brain.max())
    # The quantiles are those of the voxels above each image's own mean, to one of 100 histogram levels.
    median = np.median(brain[brain >= brain.mean()])
    assert np.median(matched[curved >= curved.mean()]) == pytest.approx(median, abs=float(brain.max()) / 100)
    assert (np.diff(matched.ravel()[brain.argsort(axis=None)]) >= -1e-3).all()


def test_the_reference_may_have_another_shape(brain):
    np.testing.assert_allclose(match_histogram(2 * brain, brain[::-1].transpose(2, 0, 1)), brain, atol=1e-2)


@pytest.mark.shared
def test_equal_to_the_anima_tool(shared):
    golden = shared / "golden" / "preprocessing"
    reference, moving, expected = (
        nib.load(golden / f"{name}.nii.gz").get_fdata()
        for name in ("time01_n4", "time02_n4", "time02_n4_matched")
    )
    error = match_histogram(moving, reference) - expected
    assert np.sqrt((error**2).sum() / (expected**2).sum()) <= 1e-3
