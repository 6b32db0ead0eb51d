"""The brain of a real scan is found whatever the scanner did to it, or the program says why not and ends with code 4."""

from dataclasses import replace

import pytest
import torch

from benchmarks.scanner_trouble import (
    BRAIN,
    SMALLEST_BRAIN_DICE,
    TROUBLES,
    dice,
    followed,
    sheared,
    troubled,
)
from lesionwise.challenge_layout import TIME1
from lesionwise.errors import PreprocessingError
from lesionwise.preprocessing import brain_extraction
from lesionwise.preprocessing.brain_extraction import gate_brain_masks
from lesionwise.preprocessing.brain_routes import by_first_route
from lesionwise.volume import read_mask, read_volume, write_image_like


@pytest.fixture(scope="module")
def scan_and_brain(shared):
    patient = shared / "data" / "ljubljana" / "pairs" / "patient01"
    return read_volume(patient / TIME1), read_mask(patient / BRAIN)


def found_brain(scan):
    """Return the brain mask of one scan, and the route by which it was found."""

    def attempt(extract):
        mask = extract(scan.data, scan.affine, 1)
        return gate_brain_masks(mask, mask, scan.voxel_mm3)

    return by_first_route("auto", attempt, lambda _line: None)


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("trouble", [name for name in TROUBLES if name != "sheared affine"])
def test_the_brain_is_found_under(trouble, scan_and_brain):
    scan, brain = scan_and_brain
    found, _ = found_brain(troubled(trouble, scan, brain))
    assert dice(found, followed(trouble, brain, brain).data) >= SMALLEST_BRAIN_DICE


@pytest.mark.shared
@pytest.mark.slow
def test_the_atlas_finds_the_brain_of_a_real_scan_where_the_networks_do_not(scan_and_brain, monkeypatch):
    scan, brain = scan_and_brain
    monkeypatch.setattr(brain_extraction, "_run", lambda _network, data, _low, _high: torch.zeros_like(data))
    found, route = found_brain(scan)
    assert route == "atlas"
    assert dice(found, brain.data) >= SMALLEST_BRAIN_DICE


@pytest.mark.shared
def test_tilted_slices_are_refused_with_code_4(scan_and_brain, tmp_path):
    scan, brain = scan_and_brain
    small = replace(scan, data=scan.data[:, :, :20])
    tilted = sheared(small, brain)
    write_image_like(tmp_path / "tilted.nii", tilted.data, tilted)
    with pytest.raises(PreprocessingError, match="sheared") as error:
        read_volume(tmp_path / "tilted.nii")
    assert error.value.exit_code == 4
