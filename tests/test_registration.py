"""Known rigid motions of real pairs are recovered, and a registration that failed is noticed."""

from dataclasses import replace

import pytest

from benchmarks.bench_registration import MOTIONS, centre_mm, mean_error_mm, motion_about
from lesionwise.challenge_layout import TIME1, TIME2
from lesionwise.errors import PreprocessingError
from lesionwise.preprocessing import registration
from lesionwise.preprocessing.registration import register
from lesionwise.volume import read_mask, read_volume


@pytest.mark.shared
@pytest.mark.slow
def test_thirty_degrees_and_forty_mm_across_two_protocols(shared, monkeypatch):
    patient = shared / "data" / "ljubljana" / "pairs" / "patient19"
    time1, time2 = read_volume(patient / TIME1), read_volume(patient / TIME2)
    brain = read_mask(patient / "brain_mask_flair.nii.gz")
    truth = motion_about(centre_mm(brain), *MOTIONS["30 degrees about all, 40 mm"])
    moved = replace(time2, affine=truth @ time2.affine)
    found = register(time1, moved, 2)
    assert mean_error_mm(found.matrix, truth, brain) <= 0.5

    # The same scans, where the search went astray.
    monkeypatch.setattr(registration, "rigid_search", lambda *_: registration.sitk.Euler3DTransform())
    monkeypatch.setattr(registration, "descend", lambda *arguments: (arguments[-1], 0.0))
    with pytest.raises(
        PreprocessingError, match="registration failed: after it the scans are alike"
    ) as error:
        register(time1, moved, 2)
    assert error.value.exit_code == 4
