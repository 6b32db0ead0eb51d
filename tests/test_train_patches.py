"""What a training patch holds: images and truth of one place, nothing outside the brain; and a scan in a new shape."""

import numpy as np
import pytest
from small_anatomy import SHAPE, small_anatomy

from lesionwise.simulation.anatomy import Anatomy, deformed
from lesionwise.simulation.timepoints import SyntheticPair
from train.patches import PatchSettings, SyntheticPatches, draw_patches, make_loader


@pytest.fixture
def pair():
    """Return a pair that is 2 in the brain at time 1 and 2 in new lesions at time 2, 1 elsewhere, outside the brain too."""
    brain = small_anatomy().brain
    new = (np.random.default_rng(1).random(SHAPE) < 0.02) & brain
    image = np.ones(SHAPE, dtype=np.float32)
    return SyntheticPair(image + brain, image + new, brain, new, new)


@pytest.mark.parametrize(("around_new", "around_old"), [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0)])
def test_the_truth_of_a_patch_is_that_of_its_images_and_outside_the_brain_is_0(pair, around_new, around_old):
    settings = PatchSettings(size=16, around_new=around_new, around_old=around_old)
    patches = draw_patches(pair, settings, 20, np.random.default_rng(2))
    for images, truth in patches:
        assert images.shape == (2, 16, 16, 16)
        assert np.array_equal(images[1] == 2, truth == 1)
        assert set(np.unique(images[0])) <= {0, 2}
        assert not images[1][images[0] == 0].any()
    assert any(truth.any() for _, truth in patches)
    assert any((images[0] == 0).any() for images, _ in patches)


def cube(corner, edge):
    """Return a mask (64, 64, 64) of a cube: where it begins along all axes, and its edge in voxels."""
    mask = np.zeros((64, 64, 64), dtype=bool)
    mask[(slice(corner, corner + edge),) * 3] = True
    return mask


def test_half_of_the_patches_lie_around_a_lesion_of_8_voxels_and_half_around_one_of_4096():
    # A patch of 16 reaches 5 + 8 voxels beyond the lesion that it was drawn for, to 18 or down to 27: none holds both.
    small, large = cube(4, 2), cube(40, 16)
    # By voxels the small one would get 8 of 4104 patches, less than one here.
    image = np.ones(small.shape, dtype=np.float32)
    pair = SyntheticPair(image, image + small, small | large, small | large, small)
    patches = draw_patches(pair, PatchSettings(size=16, around_new=1.0), 200, np.random.default_rng(4))
    assert all(truth.any() for _, truth in patches)
    around_small = [(images[1] == 2).any() for images, _ in patches]
    assert np.mean(around_small) == pytest.approx(0.5, abs=0.1)  # three standard deviations of 200 draws


def test_shares_of_patches_are_around_new_lesions_around_old_ones_and_elsewhere():
    new, old, elsewhere = cube(4, 2), cube(28, 2), cube(48, 12)
    beyond = np.zeros_like(old)
    beyond[60:62, 2:4, 2:4] = True  # bright and outside the brain: no place to look at
    image = np.ones(new.shape, dtype=np.float32)
    pair = SyntheticPair(image + old, image + new, new | old | elsewhere, new, old | beyond)

    def shares(around_new, around_old):
        settings = PatchSettings(size=16, around_new=around_new, around_old=around_old)
        patches = draw_patches(pair, settings, 300, np.random.default_rng(5))
        return [np.mean([(images[time] == 2).any() for images, _ in patches]) for time in (1, 0)]

    assert shares(1.0, 0.0) == [1, 0]
    assert shares(0.0, 1.0) == [0, 1]
    assert shares(0.5, 0.2) == pytest.approx([0.5, 0.2], abs=0.08)
    # Of the brain's 8 + 8 + 1728 voxels hardly any is in a lesion.
    assert max(shares(0.0, 0.0)) < 0.05


def test_a_deformed_scan_keeps_its_lesions_where_they_are_bright():
    anatomy = small_anatomy()
    lesions = np.zeros(SHAPE, dtype=bool)
    lesions[16:22, 20:25, 24:30] = True
    whole = Anatomy(
        1 + 2 * lesions.astype(np.float32),
        anatomy.brain,
        anatomy.grey,
        anatomy.white,
        anatomy.lesion_prior,
        lesions,
    )
    moved = deformed(whole, np.random.default_rng(3))
    assert moved.old_lesions.sum() > 0
    assert not np.array_equal(moved.old_lesions, lesions)
    assert np.count_nonzero((moved.flair > 2) != moved.old_lesions) <= 2


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more than this machine has cores for
@pytest.mark.parametrize(("size", "workers", "ahead"), [(32, 1, 64), (128, 12, 9), (256, 60, 2)])
def test_waiting_batches_fit_into_shared_memory(size, workers, ahead):
    settings = PatchSettings(size=size, batch=2)
    loader = make_loader(SyntheticPatches(settings, seed=1), settings, workers)
    assert loader.prefetch_factor == ahead
    assert loader.in_order


def test_in_its_own_process_a_loader_makes_nothing_ahead():
    settings = PatchSettings(size=16, batch=2)
    assert make_loader(SyntheticPatches(settings, seed=1), settings, 0).prefetch_factor is None
