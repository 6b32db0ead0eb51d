"""Records of arrays: what goes in comes out, and nothing half-written stays."""

from dataclasses import dataclass

import numpy as np

from train.array_files import store, stored


@dataclass
class Record:
    image: np.ndarray
    mask: np.ndarray


def test_floats_come_back_as_float32_and_masks_as_bool(tmp_path):
    image = np.array([0.0, 0.5, 1.25, 2.0], dtype=np.float32)  # exact in float16
    store(tmp_path / "r.npz", Record(image, image > 1))
    back = Record(**stored(tmp_path / "r.npz"))
    np.testing.assert_array_equal(back.image, image)
    np.testing.assert_array_equal(back.mask, [False, False, True, True])
    assert back.image.dtype == np.float32
    assert back.mask.dtype == np.bool_
    assert [f.name for f in tmp_path.iterdir()] == ["r.npz"]
