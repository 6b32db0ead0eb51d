"""A real pair gives the same lesions however it is stored: pytest -m long tests/test_real_pair_stored_otherwise.py"""

import nibabel as nib
import pytest
from stored_otherwise import WAYS, dice_mapped_back, store

from lesionwise.case_files import Case
from lesionwise.engine import Settings
from lesionwise.pipeline import segment_case
from lesionwise.progress import Progress

SETTINGS = Settings(threads=0)
"""Windows side by side: a fraction of the work, and no change in what the storage does."""

pytestmark = [pytest.mark.long, pytest.mark.shared]


@pytest.fixture(scope="module")
def pair(shared):
    folder = shared / "data" / "ljubljana" / "pairs" / "patient01"
    return [folder / f"flair_time0{time}_on_middle_space.nii.gz" for time in (1, 2)]


@pytest.fixture(scope="module")
def reference(pair, tmp_path_factory):
    mask = tmp_path_factory.mktemp("reference") / "mask.nii.gz"
    segment_case(Case(*pair, mask), SETTINGS, Progress())
    return mask


@pytest.mark.parametrize("way", WAYS)
def test_a_real_pair_stored_otherwise_gives_the_same_lesions(pair, reference, way, tmp_path):
    stored, mask = store(pair, way, tmp_path), tmp_path / "mask.nii.gz"
    segment_case(Case(*stored, mask), SETTINGS, Progress())
    overlap = dice_mapped_back(mask, reference)
    print(f"{way}: Dice {overlap:.4f}")
    assert overlap >= 0.98
    assert nib.load(mask).shape == nib.load(stored[0]).shape
    assert (nib.load(mask).affine == nib.load(stored[0]).affine).all()
