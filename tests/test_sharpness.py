"""How much sharper one image is than another: known blurs are found again."""

import numpy as np
import pytest
from scipy import ndimage

from lesionwise.sharpness import LARGEST_BLUR, blur_to_match


@pytest.fixture(scope="module")
def image():
    """Return smooth structures of about the size of those of a brain, in voxels of 1 mm."""
    noise = np.random.default_rng(3).normal(size=(60, 60, 60))
    return ndimage.gaussian_filter(noise, 1.5)


@pytest.fixture(scope="module")
def inside(image):
    inside = np.zeros(image.shape, bool)
    inside[8:-8, 8:-8, 8:-8] = True
    return inside


@pytest.mark.parametrize("blur", [(0, 0, 1.5), (0.8, 0, 0), (1.2, 0.6, 0.9)])
def test_a_known_blur_is_found_again_along_each_axis(image, inside, blur):
    blurred = ndimage.gaussian_filter(image, blur)
    # Variances add up. A blur across the lines moves the estimate by a little.
    found = np.square(blur_to_match(image, blurred, inside))
    assert found == pytest.approx(np.square(blur), abs=0.15)
    assert max(np.square(blur_to_match(blurred, image, inside))) < 0.15


def test_contrast_does_not_count(image, inside):
    blurred = ndimage.gaussian_filter1d(image, 1.0, axis=0)
    plain = blur_to_match(image, blurred, inside)
    assert blur_to_match(3 * image + 7, 0.5 * blurred - 2, inside) == pytest.approx(plain, abs=0.02)


def test_axes_turn_with_the_image(image, inside):
    blurred = ndimage.gaussian_filter1d(image, 1.0, axis=0)
    turned = blur_to_match(*(array.transpose(2, 0, 1) for array in (image, blurred, inside)))
    assert turned == pytest.approx(np.roll(blur_to_match(image, blurred, inside), 1), abs=0.1)


def test_nothing_to_compare_needs_no_blur(image, inside):
    constant = np.ones_like(image)
    for pair in ((image, constant), (constant, image), (image, image)):
        assert blur_to_match(*pair, inside) == (0, 0, 0)
    assert blur_to_match(image, ndimage.gaussian_filter(image, 1), np.zeros_like(inside)) == (0, 0, 0)


def test_blur_has_an_end(image, inside):
    ramp = np.broadcast_to(np.arange(60.0), image.shape)
    assert blur_to_match(image, ramp, inside)[2] == pytest.approx(LARGEST_BLUR, abs=0.02)
