"""Image quality augmentation: what is drawn, what it does, and that each time point gets its own."""

from itertools import islice

import numpy as np
import pytest
import torch
from scipy import ndimage
from small_training import BallPatches

from train.augmentation import (
    AXIAL_SLICES,
    OPERATIONS,
    PROBABILITIES,
    Augmentation,
    Augmented,
    ImageQuality,
    Turn,
    degrade,
    draw_image_quality,
    draw_turn,
    turned,
)
from train.patches import PatchSettings


@pytest.fixture
def image():
    return np.random.default_rng(0).uniform(0.5, 1.5, (12, 12, 12)).astype(np.float32)


def test_operations_are_drawn_as_often_as_stated():
    rng = np.random.default_rng(0)
    drawn = [draw_image_quality(rng) for _ in range(4000)]
    shares = [sum(q.operation == name for q in drawn) / len(drawn) for name in OPERATIONS]
    assert shares == pytest.approx(PROBABILITIES, abs=0.03)
    assert sum(PROBABILITIES) == pytest.approx(1)


def test_parameters_stay_in_the_stated_ranges():
    rng = np.random.default_rng(0)
    for quality in (draw_image_quality(rng) for _ in range(1000)):
        if quality.operation == "blur":
            assert (
                0.5 <= quality.sigma_voxels[0] == quality.sigma_voxels[1] == quality.sigma_voxels[2] <= 1.75
            )
        elif quality.operation == "sharpening":
            assert all(0.25 <= sigma <= 1 for sigma in quality.sigma_voxels)
            assert 1 <= quality.amount <= 5
        elif quality.operation == "axial mean":
            assert AXIAL_SLICES[0] <= quality.slices <= AXIAL_SLICES[1]
        else:
            assert quality == ImageQuality("nothing")


def test_nothing_changes_nothing(image):
    assert np.array_equal(degrade(image, ImageQuality("nothing")), image)


def test_blur_is_a_gaussian(image):
    blurred = degrade(image, ImageQuality("blur", (1.0, 1.0, 1.0)))
    np.testing.assert_allclose(blurred, ndimage.gaussian_filter(image, 1.0, mode="nearest"), rtol=1e-6)


def test_sharpening_adds_what_blur_takes_away(image):
    sigma = (0.5, 0.7, 0.9)
    sharp = degrade(image, ImageQuality("sharpening", sigma, amount=2.0))
    lost = image - ndimage.gaussian_filter(image, sigma, mode="nearest")
    np.testing.assert_allclose(sharp, image + 2 * lost, rtol=1e-4, atol=1e-5)


def test_axial_mean_by_hand():
    image = np.ones((2, 2, 5), dtype=np.float32)
    image[0, 0] = [1, 2, 6, 3, 4]
    mean = degrade(image, ImageQuality("axial mean", slices=3))
    assert mean[0, 0].tolist() == pytest.approx([4 / 3, 3, 11 / 3, 13 / 3, 11 / 3])
    assert (mean[1] == 1).all()


def test_an_axial_mean_of_an_even_number_of_slices_does_not_move_the_image():
    image = np.full((1, 1, 9), np.float32(1))
    image[0, 0, 4] = 5
    two, four = (degrade(image, ImageQuality("axial mean", slices=n))[0, 0] for n in (2, 4))
    assert two.tolist() == [1, 1, 1, 2, 3, 2, 1, 1, 1]
    assert four.tolist() == [1, 1, 1.5, 2, 2, 2, 1.5, 1, 1]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_outside_the_brain_stays_0(image, operation):
    image[:, :, 8:] = 0
    changed = degrade(image, ImageQuality(operation, (1.0, 1.0, 1.0), 2.0, 3))
    assert not changed[:, :, 8:].any()
    assert changed.dtype == np.float32


def test_time_points_are_degraded_on_their_own_and_the_truth_not_at_all(image):
    same = np.stack([image, image])
    different = 0
    for seed in range(20):
        images, truth = Augmentation(image_quality=True).apply(same, image, np.random.default_rng(seed))
        assert truth is image
        different += not np.array_equal(images[0], images[1])
    assert different > 10


def test_a_turn_moves_images_and_truth_alike(image):
    images, truth = Augmentation(turns=True).apply(
        np.stack([image, 2 * image]), image, np.random.default_rng(1)
    )
    assert not np.array_equal(truth, image)
    assert np.array_equal(images, np.stack([truth, 2 * truth]))


def test_a_turn_by_hand():
    array = np.arange(8).reshape(2, 2, 2)
    assert turned(array, Turn((0, 1, 2), (True, False, False))).tolist() == array[::-1].tolist()
    assert turned(array, Turn((2, 1, 0), (False,) * 3)).tolist() == array.T.tolist()


def test_all_48_turns_are_drawn():
    rng = np.random.default_rng(0)
    assert len({draw_turn(rng) for _ in range(1000)}) == 48


def test_an_augmented_stream_goes_on_where_it_was_left():
    settings = PatchSettings(16, 2, pairs_in_block=1, patches_per_pair=6)
    both = Augmentation(image_quality=True, turns=True)
    whole = list(islice(Augmented(BallPatches(settings, 1), both, 1), 5))
    rest = list(islice(Augmented(BallPatches(settings, 1, batches_done=3), both, 1, batches_done=3), 2))
    for one, other in zip(whole[3:], rest, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
