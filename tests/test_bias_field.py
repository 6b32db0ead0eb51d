import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import nibabel as nib
import numpy as np
import pytest

from lesionwise.errors import PreprocessingError
from lesionwise.preprocessing.bias_field import correct_bias_field
from lesionwise.preprocessing.itk_threads import itk_threads


@pytest.fixture(scope="module")
def two_tissues() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A ball of two tissues (100 and 160, three per cent noise) in zeros, one of its tissues, and a smooth field."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (48, 40, 32)), indexing="ij")
    ball = x**2 + y**2 + z**2 < 0.8
    bright = ball & (np.sin(9 * x) * np.sin(8 * y) * np.sin(7 * z) > 0)
    noise = 1 + 0.03 * np.random.default_rng(0).standard_normal(x.shape)
    return np.where(bright, 160.0, 100.0) * ball * noise, bright, np.exp(0.4 * x - 0.3 * y * z)


def variation(values: np.ndarray) -> float:
    return float(values.std() / values.mean())


def test_a_smooth_field_is_removed(two_tissues):
    image, bright, field = two_tissues
    spoilt = variation((image * field)[bright])
    corrected = variation(correct_bias_field(image * field)[bright])
    assert spoilt > 0.15
    assert corrected < spoilt / 3  # three per cent of it is noise


def test_what_is_zero_stays_zero(two_tissues):
    image, _, field = two_tissues
    corrected = correct_bias_field(image * field)
    assert corrected.dtype == np.float32
    assert corrected.shape == image.shape
    np.testing.assert_array_equal(corrected == 0, image == 0)


@pytest.mark.parametrize("scale", [1e-3, 1e4])
def test_the_field_does_not_depend_on_the_unit_of_intensity(two_tissues, scale):
    image, _, field = two_tissues
    expected = correct_bias_field(image * field)
    scaled = correct_bias_field(image * field * scale) / scale
    assert relative_rms(scaled, expected) <= 1e-4


def test_threads_do_not_change_the_result(two_tissues):
    image, _, field = two_tissues
    alone = correct_bias_field(image * field, 1)
    np.testing.assert_array_equal(correct_bias_field(image * field, 2), alone)


def test_what_another_thread_does_with_itk_does_not_change_the_result(two_tissues):
    """As in a batch, which lays the template over one case while it corrects the next."""
    image, _, field = two_tissues
    alone = correct_bias_field(image * field)
    stop = Event()

    def meanwhile():
        while not stop.is_set():
            with itk_threads(2):
                time.sleep(0.001)
            time.sleep(0.001)

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(meanwhile)
        beside = correct_bias_field(image * field)
        stop.set()
        other.result()
    np.testing.assert_array_equal(beside, alone)


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_a_constant_image_stays(value):
    image = np.full((16, 16, 16), value)
    np.testing.assert_array_equal(correct_bias_field(image), image)


def test_too_few_voxels_for_a_field():
    with pytest.raises(PreprocessingError, match="--no-bias-correction") as error:
        correct_bias_field(np.random.default_rng(1).random((3, 3, 3)))
    assert "\n" not in str(error.value)


@pytest.mark.shared
@pytest.mark.parametrize("time_point", ["time01", "time02"])
def test_equal_to_the_anima_tool(shared: Path, time_point: str):
    golden = shared / "golden" / "preprocessing"
    masked, expected = (
        nib.load(golden / f"{time_point}_{step}.nii.gz").get_fdata() for step in ("masked", "n4")
    )
    assert relative_rms(correct_bias_field(masked), expected) <= 1e-4


def relative_rms(image: np.ndarray, expected: np.ndarray) -> float:
    return float(np.sqrt(((image - expected) ** 2).sum() / (expected**2).sum()))
