import itertools
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lesionwise
from lesionwise.preprocessing import denoising
from lesionwise.preprocessing.denoising import denoise, noise_variance


def plain_nlmeans(image: np.ndarray) -> np.ndarray:
    """The definition, voxel by voxel and candidate by candidate."""
    image = image.astype(np.float64)
    shape = image.shape
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(image, 1, mode="edge"), (3, 3, 3))
    mean, variance = windows.mean(axis=(3, 4, 5)), windows.var(axis=(3, 4, 5), ddof=1)
    noise = noise_variance(image)
    result = image.copy()
    for i in np.ndindex(shape):
        below = [min(a, 1) for a in i]
        above = [min(n - 1 - a, 1) for a, n in zip(i, shape, strict=True)]
        patch = image[tuple(slice(a - b, a + c + 1) for a, b, c in zip(i, below, above, strict=True))]
        weights, values = [], []
        if variance[i] == 0:
            continue
        for shift in itertools.product(range(-3, 4), repeat=3):
            j = tuple(a + d for a, d in zip(i, shift, strict=True))
            starts = [a - b for a, b in zip(j, below, strict=True)]
            stops = [a + c + 1 for a, c in zip(j, above, strict=True)]
            if j == i or min(starts) < 0 or any(stop > n for stop, n in zip(stops, shape, strict=True)):
                continue
            if not (mean[j] and variance[j] and 0.95 < mean[i] / mean[j] < 1 / 0.95):
                continue
            if not 0.5 < variance[i] / variance[j] < 2:
                continue
            other = image[tuple(slice(a, b) for a, b in zip(starts, stops, strict=True))]
            weights.append(np.exp(-((patch - other) ** 2).sum() / (2 * noise * patch.size)))
            values.append(image[j])
        if weights:
            own = max(weights)
            result[i] = (np.dot(weights, values) + own * image[i]) / (sum(weights) + own)
    return result


@pytest.mark.parametrize("thickness", [1, 2, 5])
def test_slabs_do_not_show(monkeypatch, thickness):
    image = 100 + 10 * np.random.default_rng(0).standard_normal((9, 8, 23)).astype(np.float32)
    whole = denoise(image)
    monkeypatch.setattr(denoising, "SLAB_VOXELS", thickness * 9 * 8)
    np.testing.assert_array_equal(denoise(image), whole)


@settings(max_examples=8)
@given(st.tuples(*[st.integers(2, 7)] * 3), st.integers(0, 2**32 - 1))
def test_equal_to_the_definition(shape, seed):
    image = 100 + 10 * np.random.default_rng(seed).standard_normal(shape)
    denoised = denoise(image)
    assert np.abs(denoised - image).max() > 1 or min(shape) < 5  # there is something to compare
    np.testing.assert_allclose(denoised, plain_nlmeans(image), rtol=1e-6)


def test_equal_to_the_definition_around_a_masked_brain():
    image = np.zeros((12, 11, 8))
    image[5:11, 4:10, 0:6] = np.random.default_rng(1).uniform(20, 200, (6, 6, 6))  # touches the border
    np.testing.assert_allclose(denoise(image), plain_nlmeans(image), rtol=1e-6)


def test_equal_to_the_definition_for_negative_intensities():
    image = -100 + 10 * np.random.default_rng(2).standard_normal((8, 7, 6))
    np.testing.assert_allclose(denoise(image), plain_nlmeans(image), rtol=1e-6)


def test_noise_variance_of_one_bright_voxel():
    image = np.zeros((3, 3, 3))
    image[1, 1, 1] = 1
    # Centre: 6/7 * 1. Each of the six faces: 6/7 * (1/6)^2. Together 6/7 * (1 + 6/36) = 1, over 27 voxels.
    assert noise_variance(image) == pytest.approx(1 / 27)


def test_noise_variance_of_white_noise():
    noise = np.random.default_rng(3).normal(scale=5, size=(40, 40, 40))
    # The edge voxels, whose missing neighbours are themselves, lower it a little.
    assert noise_variance(noise) == pytest.approx(25, rel=0.05)


def test_noise_falls_and_edges_stay():
    truth = np.full((24, 24, 24), 100.0)
    truth[12:] = 150
    noisy = truth + np.random.default_rng(4).normal(scale=4, size=truth.shape)
    error = np.sqrt(((denoise(noisy) - truth) ** 2).mean())
    assert error < 4 / 2.5


@pytest.mark.parametrize("value", [0.0, 3.7])
def test_a_flat_image_stays(value):
    image = np.full((6, 7, 8), value, dtype=np.float32)
    np.testing.assert_array_equal(denoise(image), image)


def test_the_input_is_left_alone():
    image = np.random.default_rng(5).random((6, 7, 8), dtype=np.float32) + 1
    before = image.copy()
    assert not np.shares_memory(denoise(image), image)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    "turn", [lambda a: a.transpose(2, 0, 1), lambda a: a[::-1, :, ::-1]], ids=["permuted", "mirrored"]
)
def test_turning_the_image_turns_the_result(turn):
    image = 100 + 10 * np.random.default_rng(6).standard_normal((9, 10, 11))
    np.testing.assert_allclose(denoise(turn(image)), turn(denoise(image)), rtol=1e-6)


def test_threads_do_not_change_a_bit():
    image = 100 + 10 * np.random.default_rng(7).standard_normal((9, 10, 11))
    np.testing.assert_array_equal(denoise(image, threads=3), denoise(image, threads=1))


@pytest.mark.shared
@pytest.mark.parametrize("time_point", ["time01", "time02"])
def test_equal_to_the_anima_tool(shared: Path, time_point: str):
    golden = shared / "golden" / "preprocessing"
    noisy, expected = (
        nib.load(golden / f"{time_point}_{step}.nii.gz").get_fdata() for step in ("n4", "n4_nlm")
    )
    interior = np.zeros(noisy.shape, dtype=bool)
    interior[1:-1, 1:-1, 1:-1] = True
    denoised = denoise(noisy)
    for part in (interior, ~interior):
        error, size = (denoised - expected)[part], expected[part]
        assert np.sqrt((error**2).sum() / (size**2).sum()) <= 1e-4


@pytest.mark.parametrize("cache", ["unset", "unwritable"])
def test_compiles_where_nothing_can_be_written(tmp_path: Path, cache: str):
    """A read-only installation, no home folder, any user: compiled code is then kept in memory alone."""
    installed = tmp_path / "installed"
    package = shutil.copytree(
        Path(lesionwise.__file__).parent,
        installed / "lesionwise",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    for path in [tmp_path, installed, package, *package.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = sorted(tmp_path.rglob("*"))
    # numba must not turn to the home folder either, which is as read-only.
    environment = {"PYTHONPATH": str(installed), "PATH": os.environ["PATH"], "HOME": str(installed)}
    if cache == "unwritable":
        environment["NUMBA_CACHE_DIR"] = str(tmp_path / "missing")
    code = (
        "import numpy as np; from lesionwise.preprocessing.denoising import denoise;"
        "print(denoise(np.ones((4, 4, 4))).sum(), denoise.__code__.co_filename)"
    )
    # The superuser may write anywhere, unless the right to is taken away.
    humbly = ["setpriv", "--bounding-set=-all"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*humbly, sys.executable, "-c", code], env=environment, cwd="/", capture_output=True, text=True
    )
    for path in [tmp_path, installed, package]:
        path.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["64.0", str(package / "preprocessing" / "denoising.py")]
    assert sorted(tmp_path.rglob("*")) == before


def test_other_threads_run_while_it_computes():
    """Two threads could gain nothing if the compiled code held the interpreter's lock."""
    image = np.random.default_rng(6).uniform(90, 110, (40, 40, 40))
    denoise(image[:8])  # compiled
    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(denoise, image)
        turns = 0
        while not work.done():
            time.sleep(0.001)
            turns += 1
    assert turns > 20
