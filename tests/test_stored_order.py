"""A head stored with its axes in another order or direction has the same registration, brain and places."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from scipy import ndimage

from lesionwise.preprocessing.atlas import atlas_head
from lesionwise.progress import Progress
from lesionwise.report import template_maps
from lesionwise.report.template_maps import place_case
from lesionwise.scan_pair import ScanPair, Study, find_brain, prepare_study
from lesionwise.simulation.anatomy import template_affine
from lesionwise.volume import Volume, in_order_of, on_grid, to_orientation


@pytest.fixture(scope="module")
def pair():
    """The template's head in voxels of 2 mm, and the same a little turned, with noise, both stored as LPS."""
    head, brain = (sitk.GetArrayFromImage(image).T[::2, ::2, ::2] for image in atlas_head())
    moved = ndimage.shift(ndimage.rotate(head, 4, reshape=False, order=1), (1, 0.5, -1.5), order=1)
    noise, affine = np.random.default_rng(1), template_affine() @ np.diag([2.0, 2.0, 2.0, 1.0])

    def volume(data):
        return to_orientation(on_grid(data, affine, Volume(data, affine, nib.Nifti1Header())), "LPS")

    time1, time2 = (
        volume((100 * image + noise.normal(0, 3, head.shape)).astype(np.float32)) for image in (head, moved)
    )
    return ScanPair(time1, time2, volume(brain > 0.5))


@pytest.mark.slow
def test_the_motion_and_the_half_way_grid_are_the_same(pair):
    otherwise = ScanPair(
        to_orientation(pair.time1, "RAS"),
        to_orientation(pair.time2, "PIR"),
        to_orientation(pair.brain, "RAS"),
    )
    expected, found = (prepare_study(p, "time2", "auto", 1, Progress()) for p in (pair, otherwise))
    np.testing.assert_allclose(found.registration.matrix, expected.registration.matrix, atol=1e-9)
    np.testing.assert_allclose(found.brain.affine, expected.brain.affine, atol=1e-9)
    np.testing.assert_array_equal(found.brain.data, expected.brain.data)
    assert found.output is otherwise.time2


@pytest.mark.slow
def test_the_brain_is_the_same_on_the_scan_as_stored(pair):
    stored = to_orientation(pair.time2, "RAS")
    expected, found = (find_brain(scan, scan, 1, "atlas")[0] for scan in (pair.time2, stored))
    np.testing.assert_array_equal(in_order_of(found, stored, pair.time2), expected)


@pytest.mark.slow
def test_the_places_of_lesions_are_the_same(pair, monkeypatch):
    real, laid = template_maps.maps_on_scan, []
    monkeypatch.setattr(template_maps, "maps_on_scan", lambda *scan: laid.append(real(*scan)) or laid[-1])
    lesions = np.zeros(pair.brain.data.shape, dtype=bool)
    lesions[30:34, 40:44, 40:44] = lesions[60:63, 60:62, 50:53] = True
    found = []
    for order in ("LPS", "PIR"):
        scan, brain, mask = (
            to_orientation(replace(pair.time1, data=data), order)
            for data in (pair.time1.data, pair.brain.data, lesions)
        )
        found.append(place_case(Study(scan, scan, brain, scan, "given"), mask.data, 1, Progress()))
    assert len(found[0].places) == 2
    assert found[1] == found[0]
    for name in ("ventricles", "cortex", "infratentorial"):
        np.testing.assert_array_equal(getattr(laid[1].maps, name), getattr(laid[0].maps, name))
    np.testing.assert_allclose(laid[1].maps.to_template, laid[0].maps.to_template, atol=1e-9)
