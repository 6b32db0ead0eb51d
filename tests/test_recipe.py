import numpy as np
import pytest
from scipy import ndimage

from lesionwise.errors import PreprocessingError
from lesionwise.preprocessing import recipe as recipe_module
from lesionwise.preprocessing.recipe import RECIPES, Recipe, preprocess_pair

SHAPE = (4, 3, 2)
TIME1, TIME2 = np.full(SHAPE, 10, dtype=np.int16), np.full(SHAPE, 20, dtype=np.int16)
MASK = np.arange(24).reshape(SHAPE) % 2 == 0
MATCHING = Recipe(bias_correction=False, denoising=False, histogram_matching=True)


@pytest.fixture
def simple_steps(monkeypatch):
    """Steps whose order shows in the result: add 1, double, take the reference's."""
    monkeypatch.setattr(recipe_module, "correct_bias_field", lambda image, threads: image + np.float32(1))
    monkeypatch.setattr(recipe_module, "denoise", lambda image, threads: image * np.float32(2))
    monkeypatch.setattr(recipe_module, "match_histogram", lambda image, reference, threads: reference.copy())


def test_the_named_recipes():
    assert RECIPES["paper"].steps == ("masking", "bias correction", "denoising")
    assert RECIPES["challenge"].steps == ("masking", "bias correction")


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(
    ("recipe", "inside1", "inside2"),
    [
        (RECIPES["paper"], (10 + 1) * 2, (20 + 1) * 2),
        (RECIPES["challenge"], 10 + 1, 20 + 1),
        (Recipe(bias_correction=False), 10 * 2, 20 * 2),
        (Recipe(bias_correction=False, denoising=False), 10, 20),
        (Recipe(histogram_matching=True), (10 + 1) * 2, (10 + 1) * 2),
    ],
)
def test_steps_run_in_order_on_the_masked_images(simple_steps, recipe, inside1, inside2, threads):
    seen = []
    images = preprocess_pair(TIME1, TIME2, MASK, recipe, threads, seen.append)
    assert tuple(seen) == recipe.steps
    for image, inside in zip(images, (inside1, inside2), strict=True):
        assert image.dtype == np.float32
        assert (image[MASK] == inside).all()


def test_with_a_template_both_time_points_take_its_histogram(simple_steps):
    template = np.arange(1.0, 25).reshape(SHAPE)
    for image in preprocess_pair(TIME1, TIME2, MASK, MATCHING, template=template):
        np.testing.assert_array_equal(image, np.where(MASK, template, 0))


def test_matching_leaves_what_is_zero_although_a_voxel_is_darker():
    time1, time2 = np.random.default_rng(1).uniform(50, 150, (2, 12, 12, 12)).astype(np.float32)
    mask = np.zeros(time1.shape, dtype=bool)
    mask[2:-2, 2:-2, 2:-2] = True
    time2[5, 5, 5] = -40
    image = preprocess_pair(time1, time2, mask, MATCHING)[1]
    assert (image[~mask] == 0).all()
    assert image[mask].mean() == pytest.approx(time1[mask].mean(), rel=0.05)


def test_an_image_of_one_value_has_no_histogram_to_match():
    scan = np.random.default_rng(2).uniform(50, 150, SHAPE)
    for images in ((scan, np.zeros(SHAPE)), (np.zeros(SHAPE), scan)):
        with pytest.raises(PreprocessingError, match="one value everywhere"):
            preprocess_pair(*images, MASK, MATCHING)


def test_outside_the_brain_is_zero_but_for_a_rim_and_inputs_are_left_alone():
    rng = np.random.default_rng(0)
    time1, time2 = rng.uniform(50, 150, (2, 24, 24, 20)).astype(np.float32)
    before = time1.copy(), time2.copy()
    mask = np.zeros(time1.shape, dtype=bool)
    mask[4:-4, 4:-4, 4:-4] = True
    with_rim = ndimage.binary_dilation(mask, np.ones((3, 3, 3)))
    for recipe, reach in ((RECIPES["paper"], with_rim), (RECIPES["challenge"], mask)):
        for image in preprocess_pair(time1, time2, mask, recipe):
            assert (image[~reach] == 0).all()
            assert (image[mask] > 0).all()
    np.testing.assert_array_equal((time1, time2), before)
