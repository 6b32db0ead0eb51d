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


def test_what_is_half_written_is_taken_for_no_record_and_goes_with_the_next(tmp_path, monkeypatch):
    record, half = Record(np.zeros(3, np.float32), np.zeros(3, bool)), []
    monkeypatch.setattr(np, "savez_compressed", lambda *_a, **_k: half.extend(tmp_path.iterdir()))
    store(tmp_path / "r.npz", record)
    assert len(half) == 1
    assert half[0].suffix != ".npz"  # training takes all that has it
    monkeypatch.undo()
    half[0].write_bytes(b"torn by a kill")
    store(tmp_path / "r.npz", record)
    assert [f.name for f in tmp_path.iterdir()] == ["r.npz"]


def test_equal_records_are_stored_as_equal_bytes(tmp_path):
    record = Record(np.arange(3, dtype=np.float32), np.ones(3, bool))
    for name in ("a.npz", "b.npz"):
        store(tmp_path / name, record)
    np.savez_compressed(tmp_path / "c.npz", image=record.image.astype(np.float16), mask=record.mask)
    # Synthetic cases are known by the bytes of the scans that they are made from.
    assert len({file.read_bytes() for file in tmp_path.iterdir()}) == 1
