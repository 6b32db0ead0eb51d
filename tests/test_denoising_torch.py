"""The torch form of the denoising equals the compiled one; here on the CPU, a GPU runs the same lines."""

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lesionwise.preprocessing import recipe
from lesionwise.preprocessing.denoising import denoise
from lesionwise.preprocessing.denoising_torch import denoise_on
from lesionwise.preprocessing.recipe import Recipe, preprocess_pair

CPU = torch.device("cpu")


@settings(max_examples=12)
@given(st.tuples(*[st.integers(1, 9)] * 3), st.sampled_from([1e-3, 1, 1e4]), st.integers(0, 2**32 - 1))
def test_equal_to_the_compiled_one(shape, scale, seed):
    image = scale * (100 + 10 * np.random.default_rng(seed).standard_normal(shape))
    np.testing.assert_allclose(denoise_on(image, CPU), denoise(image), rtol=1e-5)


def test_equal_around_a_masked_brain_that_touches_the_border():
    image = np.zeros((22, 21, 18))
    image[5:21, 4:20, 0:16] = np.random.default_rng(1).uniform(80, 120, (16, 16, 16))
    np.testing.assert_allclose(denoise_on(image, CPU), denoise(image), rtol=1e-5)


def test_equal_for_negative_intensities():
    image = -100 + 10 * np.random.default_rng(2).standard_normal((8, 7, 6))
    np.testing.assert_allclose(denoise_on(image, CPU), denoise(image), rtol=1e-5)


def test_equal_where_all_that_an_outlier_could_be_averaged_with_weighs_next_to_nothing():
    image = np.zeros((30, 30, 24))
    image[3:27, 3:27, 3:21] = 100 + np.random.default_rng(4).standard_normal((24, 24, 18))
    image[12:15, 12:15, 9:12], image[12:15, 19:21, 9:11] = 400, 300  # in single precision exp(-104) is 0
    np.testing.assert_allclose(denoise_on(image, CPU), denoise(image), rtol=1e-5)


@pytest.mark.parametrize("value", [0.0, 3.7])
def test_a_flat_image_stays(value):
    image = np.full((6, 7, 8), value, dtype=np.float32)
    np.testing.assert_array_equal(denoise_on(image, CPU), image)


def test_a_gpu_denoises_there_and_a_cpu_with_compiled_code(monkeypatch):
    seen = []
    monkeypatch.setattr(recipe, "denoise", lambda image, threads: seen.append("compiled") or image)
    monkeypatch.setattr(recipe, "denoise_on", lambda image, device: seen.append(device.type) or image)
    image, mask = np.ones((4, 4, 4)), np.ones((4, 4, 4), dtype=bool)
    for device in (torch.device("cpu"), torch.device("cuda")):
        preprocess_pair(image, image, mask, Recipe(bias_correction=False), device=device)
    assert seen == ["compiled"] * 2 + ["cuda"] * 2


@pytest.mark.shared
def test_equal_in_a_part_of_a_real_brain(shared):
    noisy = nib.load(shared / "golden" / "preprocessing" / "time01_n4.nii.gz").get_fdata()[
        60:92, 70:100, 8:18
    ]
    expected = denoise(noisy)
    error = denoise_on(noisy, CPU) - expected
    assert np.sqrt((error**2).sum() / (expected**2).sum()) <= 1e-4
    assert np.abs(error).max() <= 1e-4 * expected.max()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_the_same():
    image = 100 + 10 * np.random.default_rng(3).standard_normal((40, 41, 42))
    expected = denoise(image)
    error = denoise_on(image, torch.device("cuda")) - expected
    assert np.sqrt((error**2).sum() / (expected**2).sum()) <= 1e-4
