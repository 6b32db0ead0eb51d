"""Windows cover every voxel, evenly; the middle of a window counts most."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lesionwise.windows import gaussian_weights, window_positions, window_starts, windows_with


@pytest.mark.parametrize(
    ("length", "size", "stride", "starts"),
    [
        (64, 64, 32, [0]),
        (65, 64, 32, [0, 1]),
        (96, 64, 32, [0, 32]),
        (100, 64, 32, [0, 18, 36]),
        (160, 64, 32, [0, 32, 64, 96]),
        (160, 64, 64, [0, 48, 96]),
    ],
)
def test_starts_worked_out_by_hand(length, size, stride, starts):
    assert window_starts(length, size, stride) == starts


@given(st.integers(1, 40), st.integers(0, 200), st.data())
def test_windows_cover_the_axis_and_are_never_further_apart_than_the_stride(size, beyond, data):
    stride = data.draw(st.integers(1, size))
    length = size + beyond
    starts = window_starts(length, size, stride)
    assert starts[0] == 0
    assert starts[-1] == length - size
    gaps = np.diff(starts)
    assert np.all(gaps >= 1)
    assert np.all(gaps <= stride)
    if len(gaps):
        assert gaps.max() - gaps.min() <= 1
        assert len(gaps) == -(-beyond // stride), "no more windows than needed"


@pytest.mark.parametrize(("length", "stride"), [(63, 32), (64, 0), (64, 65)])
def test_an_axis_or_stride_that_cannot_serve_is_refused(length, stride):
    with pytest.raises(ValueError, match="voxels"):
        window_starts(length, 64, stride)


def test_every_voxel_of_a_volume_is_in_a_window():
    seen = np.zeros((10, 17, 8), dtype=int)
    for window in window_positions(seen.shape, (8, 8, 8), overlap=0.5):
        assert seen[window].shape == (8, 8, 8)
        seen[window] += 1
    assert seen.min() >= 1


def test_windows_without_brain_are_left_out():
    mask = np.zeros((16, 8, 8), dtype=bool)
    mask[15, 0, 0] = True
    windows = window_positions(mask.shape, (8, 8, 8), overlap=0)
    assert [window[0].start for window in windows_with(mask, windows)] == [8]


def test_weights_are_symmetric_and_greatest_in_the_middle():
    weights = gaussian_weights((8, 8, 8))
    assert weights.shape == (8, 8, 8)
    assert weights.max() == weights[4, 4, 4] == weights[3, 3, 3] == 1
    assert weights.min() == np.float32(1e-3)
    for axis in range(3):
        np.testing.assert_array_equal(weights, np.flip(weights, axis))
    # one voxel off the middle pair, sigma one voxel: exp(-(1.5^2 - 0.5^2) / 2) = exp(-1)
    assert weights[5, 4, 4] == pytest.approx(np.exp(-1), rel=1e-6)
