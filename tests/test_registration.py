"""Known rigid motions of real pairs are recovered, and a registration that failed is noticed."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from small_case import brain, new_lesions, write_case

from benchmarks.bench_registration import MOTIONS, centre_mm, mean_error_mm, motion_about
from lesionwise import scan_pair
from lesionwise.challenge_layout import TIME1, TIME2
from lesionwise.errors import PreprocessingError
from lesionwise.preprocessing import registration
from lesionwise.preprocessing.alignment import STARTS, descend, itk_image
from lesionwise.preprocessing.atlas import affine_to_atlas
from lesionwise.preprocessing.brain_routes import ROUTES
from lesionwise.preprocessing.registration import Registration, register
from lesionwise.progress import Progress
from lesionwise.report import template_maps
from lesionwise.report.template_maps import place_case
from lesionwise.scan_pair import ScanPair, Study, note_oddities, prepare_study
from lesionwise.volume import read_mask, read_volume


@pytest.fixture
def small_pair(tmp_path):
    return [read_volume(path) for path in write_case(tmp_path)[:2]]


@pytest.fixture
def execute(monkeypatch):
    """Have a descent fail as SimpleITK's does, at the calls whose numbers are put into the set that is returned."""
    fails, calls, real = set(), [], sitk.ImageRegistrationMethod.Execute

    def execute(self, *images):
        calls.append(self)
        if len(calls) in fails:
            raise RuntimeError("All samples map outside moving image buffer.\nmore lines")
        return real(self, *images)

    monkeypatch.setattr(sitk.ImageRegistrationMethod, "Execute", execute)
    return fails


def test_scans_that_are_driven_apart_are_an_error_for_people(small_pair, execute):
    execute.update(range(1, STARTS + 1))
    with pytest.raises(PreprocessingError, match="registration failed: the heads of the two scans"):
        register(*small_pair)
    execute.clear()
    execute.add(2 * STARTS + 1)  # after the search
    with pytest.raises(PreprocessingError, match="registration failed: the two scans hold nothing"):
        register(*small_pair)


def test_one_start_that_leads_astray_does_not_end_the_search(small_pair, execute):
    execute.add(1)
    assert register(*small_pair).similarity > 0.5


def test_images_apart_are_no_descent():
    image = itk_image(np.random.default_rng(1).normal(size=(16, 16, 16)), np.eye(4))
    apart = sitk.Euler3DTransform((8.0, 8.0, 8.0), 0.0, 0.0, 0.0, (1000.0, 0.0, 0.0))
    with pytest.raises(PreprocessingError):
        descend(image, image, sitk.Cast(image * 0 + 1, sitk.sitkUInt8), 1.0, apart)


def test_places_are_given_up_and_not_the_segmentation_where_the_atlas_is_driven_away(
    small_pair, execute, monkeypatch
):
    scan = small_pair[0]
    image = itk_image(scan.data, scan.affine)

    def laid_over(*_):
        affine_to_atlas(image, image)

    execute.update(range(1, STARTS + 1))
    monkeypatch.setattr(template_maps, "maps_on_scan", laid_over)
    progress = Progress()
    study = Study(scan, scan, replace(scan, data=brain()), scan, "given")
    assert place_case(study, new_lesions(), 1, progress) is None
    assert "the atlas could not be laid over the brain" in progress.warnings[0]


def test_an_empty_brain_mask_after_a_registration_is_no_brain(small_pair, monkeypatch):
    monkeypatch.setattr(scan_pair, "register", lambda *_: Registration(np.eye(4), 1.0))
    monkeypatch.setitem(ROUTES, "atlas", lambda data, *_: np.zeros(data.shape, bool))
    with pytest.raises(PreprocessingError, match="the brain mask of time 1 is empty"):
        prepare_study(ScanPair(*small_pair), "time2", "atlas", 1, Progress())


@pytest.mark.parametrize("silent", ["time 1", "time 2"])
def test_each_scan_whose_header_does_not_say_how_the_head_lies_is_told(small_pair, silent):
    header = small_pair[silent == "time 2"].header
    header["sform_code"], header["qform_code"] = 0, 0
    progress = Progress()
    note_oddities(*small_pair, progress)
    assert [line.split(" does not say")[0] for line in progress.warnings] == [f"the header of {silent}"]


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
