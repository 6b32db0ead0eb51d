from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from lesionwise.errors import PreprocessingError, WeightsError
from lesionwise.preprocessing import brain_extraction
from lesionwise.preprocessing.brain_extraction import extract_brain, gate_brain_masks

ML = 1000.0  # mm3; voxels of this size make small masks of plausible brains


def box(*sizes: int, start: int = 0) -> np.ndarray:
    mask = np.zeros((16, 16, 16), dtype=bool)
    mask[tuple(slice(start, start + size) for size in sizes)] = True
    return mask


def dice(mask1: np.ndarray, mask2: np.ndarray) -> float:
    return float(2 * (mask1 & mask2).sum() / (mask1.sum() + mask2.sum()))


def test_the_gate_gives_the_union():
    # 1000 ml each, 900 in common: Dice 0.9.
    mask1, mask2 = box(10, 10, 10), np.roll(box(10, 10, 10), 1, axis=0)
    union = gate_brain_masks(mask1, mask2, ML)
    assert union.sum() == 1100
    np.testing.assert_array_equal(union, mask1 | mask2)


@pytest.mark.parametrize(("ml", "passes"), [(699, False), (700, True), (2200, True), (2201, False)])
def test_the_gate_on_volume(ml, passes):
    mask = np.zeros((16, 16, 16), dtype=bool)
    mask.ravel()[:ml] = True
    if passes:
        assert gate_brain_masks(mask, mask, ML).sum() == ml
    else:
        with pytest.raises(PreprocessingError, match=f"time 1 has {ml} ml, not 700 to 2200 ml"):
            gate_brain_masks(mask, mask, ML)


def test_the_gate_counts_the_voxel_volume():
    with pytest.raises(PreprocessingError, match="has 500 ml"):
        gate_brain_masks(box(10, 10, 10), box(10, 10, 10), 500.0)


def test_the_gate_on_the_union():
    # 2197 ml each, 2028 in common: alike, but together 2366 ml.
    mask = box(13, 13, 13)
    with pytest.raises(PreprocessingError, match="both time points together has 2366 ml"):
        gate_brain_masks(mask, np.roll(mask, 1, axis=0), ML)


def test_the_gate_on_agreement():
    # 1000 ml each, 800 in common: Dice 0.8.
    with pytest.raises(PreprocessingError, match=r"Dice of only 0\.80"):
        gate_brain_masks(box(10, 10, 10), np.roll(box(10, 10, 10), 2, axis=0), ML)


def test_the_gate_on_pieces():
    # 1000 ml in one piece, 125 ml in another: 89 %.
    mask = box(10, 10, 10) | box(5, 5, 5, start=11)
    with pytest.raises(PreprocessingError, match="largest part is 89% of it"):
        gate_brain_masks(mask, mask, ML)


def test_every_refusal_says_what_to_do():
    with pytest.raises(PreprocessingError, match="--brain-mask FILE") as error:
        gate_brain_masks(box(2, 2, 2), box(2, 2, 2), ML)
    assert error.value.exit_code == 4
    assert "\n" not in str(error.value)


@pytest.fixture
def phantom(monkeypatch) -> tuple[np.ndarray, np.ndarray]:
    """A bright brain with a dark hole, off centre in a dim head, and networks that call what is bright brain."""

    def bright(_network, data, low, high):
        return ((data - low) / (high - low) > 0.75).float()

    monkeypatch.setattr(brain_extraction, "_run", bright)
    x, y, z = np.meshgrid(*(np.arange(n) for n in (60, 70, 50)), indexing="ij")
    distance = np.sqrt(((x - 28) / 18) ** 2 + ((y - 40) / 22) ** 2 + ((z - 27) / 14) ** 2)
    image = np.where(distance < 1.25, 50.0, 0.0)
    image[distance < 1] = 100
    image[26:30, 38:42, 25:28] = 20
    return image.astype(np.float32), distance < 1


def test_the_mask_is_the_brain_with_its_holes_filled(phantom):
    image, brain = phantom
    mask = extract_brain(image, np.diag([2.0, 2.0, 2.0, 1.0]))
    assert dice(mask, brain) > 0.99
    assert mask[(image == 20) & brain].all()


@pytest.mark.parametrize("codes", ["LPS", "SAR", "AIL"])
def test_the_mask_is_on_the_images_own_grid_in_any_orientation(phantom, codes):
    image, _ = phantom
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    turned = nib.Nifti1Image(image, affine).as_reoriented(
        nib.orientations.ornt_transform(
            nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes)
        )
    )
    mask = extract_brain(turned.get_fdata(dtype=np.float32), turned.affine)
    back = nib.as_closest_canonical(nib.Nifti1Image(mask.astype(np.uint8), turned.affine))
    np.testing.assert_array_equal(back.get_fdata() > 0, extract_brain(image, affine))


def test_padding_and_specks_in_the_background_do_not_matter(phantom):
    image, _ = phantom
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    padded = np.pad(image, 40)
    padded[::20, ::20, 0] = 100
    np.testing.assert_array_equal(
        extract_brain(padded, affine)[40:-40, 40:-40, 40:-40], extract_brain(image, affine)
    )


@pytest.mark.parametrize("scale", [1e-3, 1e4])
def test_the_unit_of_intensity_does_not_matter(phantom, scale):
    image, _ = phantom
    np.testing.assert_array_equal(
        extract_brain(image * scale - scale, np.eye(4)), extract_brain(image, np.eye(4))
    )


def test_a_brain_in_two_pieces_is_refused(phantom):
    image, _ = phantom
    image[:, 38:41] = 20
    with pytest.raises(PreprocessingError, match="falls apart"):
        extract_brain(image, np.diag([2.0, 2.0, 2.0, 1.0]))


def test_a_constant_image_holds_no_head():
    with pytest.raises(PreprocessingError, match="nothing in the image stands out"):
        extract_brain(np.full((20, 20, 20), 3.0), np.eye(4))


def test_an_image_without_a_brain_is_refused(phantom, monkeypatch):
    monkeypatch.setattr(brain_extraction, "_run", lambda _network, data, _low, _high: torch.zeros_like(data))
    with pytest.raises(PreprocessingError, match="no brain was found"):
        extract_brain(phantom[0], np.eye(4))


def test_the_networks_are_the_verified_files():
    for network in (brain_extraction.BOX_NETWORK, brain_extraction.MASK_NETWORK):
        assert isinstance(brain_extraction._load(network), torch.jit.ScriptModule)


def test_a_changed_network_is_refused():
    changed = replace(brain_extraction.BOX_NETWORK, sha256="0" * 64)
    with pytest.raises(WeightsError, match="sha256 differs") as error:
        brain_extraction._load(changed)
    assert error.value.exit_code == 5


def test_a_missing_network_is_named():
    missing = replace(brain_extraction.BOX_NETWORK, path="data/models/none.pt")
    with pytest.raises(WeightsError, match=r"data/models/none\.pt of the package deepbet"):
        brain_extraction._load(missing)


def test_the_number_of_threads_is_given_back(phantom):
    before = torch.get_num_threads()
    extract_brain(phantom[0], np.eye(4), threads=before + 1)
    assert torch.get_num_threads() == before


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize(
    "scan",
    [
        "pairs/patient01/flair_time01_on_middle_space",
        "pairs/patient19/flair_time02_on_middle_space",
        "single/patient09_study2/flair",
    ],
)
def test_real_brains(shared, scan):
    path = shared / "data" / "ljubljana" / f"{scan}.nii.gz"
    image = nib.load(path)
    reference = nib.load(path.parent / "brain_mask_flair.nii.gz").get_fdata() > 0
    assert dice(extract_brain(image.get_fdata(dtype=np.float32), image.affine), reference) >= 0.96
