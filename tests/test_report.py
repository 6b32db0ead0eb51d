"""What a report is made of: the places of lesions, and its pictures."""

import io

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from small_case import AFFINE, SHAPE, new_lesions, write_case

from lesionwise.preprocessing.atlas import painted_brain
from lesionwise.progress import Progress
from lesionwise.report.case_images import grey_levels
from lesionwise.report.pictures import montage_slices, outline_path, png
from lesionwise.report.places import BrainMaps, Place, place_lesions, region_of, side_of
from lesionwise.report.template_maps import ScanMaps, maps_on_scan, place_case
from lesionwise.report.viewer import niivue_module, viewer_program
from lesionwise.scan_pair import Study, read_pair
from lesionwise.simulation.anatomy import template_affine, template_maps


@pytest.mark.parametrize(("overlap", "given"), [(0.84, False), (0.86, True)])
def test_places_are_given_from_a_dice_of_085_of_the_atlas_with_the_brain_on(
    overlap, given, tmp_path, monkeypatch
):
    nothing = np.zeros(SHAPE, dtype=bool)
    found = ScanMaps(BrainMaps(nothing, nothing, nothing, to_template=AFFINE), overlap)
    monkeypatch.setattr("lesionwise.report.template_maps.maps_on_scan", lambda *_arguments: found)
    pair, progress = read_pair(*write_case(tmp_path)), Progress()
    study = Study(pair.time1, pair.time2, pair.brain, pair.time2, "given")
    places = place_case(study, new_lesions(), 1, progress)
    if given:
        assert places.overlap == overlap
        centres_mm = [place.centre_mni_mm for place in places.places]
        np.testing.assert_allclose(
            centres_mm, [(5, 3, 1.6), (-7, -7, 8.8)]
        )  # voxels (16, 20, 18), (28, 30, 24)
        assert not progress.warnings
    else:
        assert places is None
        assert "covers the brain to 0.84 only (Dice; 0.85 is needed)" in progress.warnings[0]


def test_the_template_is_laid_over_itself_also_where_the_brain_is_smaller():
    every_second = np.s_[::2, ::2, ::2]
    affine = np.diag([0.8, 0.8, 0.8, 1.0]) @ template_affine() @ np.diag([2.0, 2.0, 2.0, 1.0])
    brain = template_maps()["brain"][every_second] > 0.5
    found = maps_on_scan(painted_brain()[every_second], brain, affine)
    assert found.overlap > 0.99
    back = found.maps.to_template @ np.linalg.inv(affine)  # mm of the small brain to mm of the template
    np.testing.assert_allclose(back[:3, :3], np.eye(3) / 0.8, atol=0.02)


def masks(ventricles=None, cortex=None, infratentorial=None):
    made = []
    for box in (ventricles, cortex, infratentorial):
        mask = np.zeros((30, 30, 30), dtype=bool)
        if box:
            mask[box] = True
        made.append(mask)
    return made


@pytest.mark.parametrize(
    ("at", "region"),
    [(4, "periventricular"), (6, "periventricular"), (7, "deep white matter"), (22, "juxtacortical")],
)
def test_a_lesion_is_named_by_what_it_touches(at, region):
    # Ventricles end at 4, the cortex begins at 24: a voxel at 6 is 2 mm away, at 7 it is 3 mm.
    lesion = np.zeros((30, 30, 30), dtype=bool)
    lesion[at, 10, 10] = True
    assert region_of(lesion, *masks(np.s_[:5], np.s_[24:]), (1.0, 1.0, 1.0)) == region


def test_below_the_tentorium_counts_before_contact_and_the_nearer_of_two_contacts_counts():
    lesion = np.zeros((30, 30, 30), dtype=bool)
    lesion[5:8, 10, 10] = True
    everything = masks(np.s_[:5], np.s_[8:], np.s_[:, :, :15])
    assert region_of(lesion, *everything, (1.0, 1.0, 1.0)) == "infratentorial"
    everything[2][:] = False
    assert region_of(lesion, *everything, (1.0, 1.0, 1.0)) == "periventricular"  # both touch: the first
    lesion[5] = False
    assert region_of(lesion, *everything, (1.0, 1.0, 1.0)) == "juxtacortical"


def test_every_lesion_gets_its_region_its_side_and_its_centre_in_mm_of_the_template():
    # Voxels of 1 x 1 x 2 mm; right of the middle is where x is below 14.5. Ventricles end at x = 4, cortex begins at x = 24
    # and at z = 13, and what lies below z = 2 is infratentorial.
    ventricles, cortex, infratentorial = (np.zeros((30, 30, 15), dtype=bool) for _ in range(3))
    ventricles[:5] = cortex[24:] = cortex[:, :, 13:] = infratentorial[:, :, :2] = True
    to_template = nib.affines.from_matvec(np.diag([-1.0, 1.0, 2.0]), [14.5, -10.0, -14.0])
    expected = [
        (np.s_[6, 10, 5], Place("periventricular", "right", (8.5, 0.0, -4.0))),  # 2 mm away
        (np.s_[22:24, 10, 5], Place("juxtacortical", "left", (-8.0, 0.0, -4.0))),
        (
            np.s_[8, 10, 5],
            Place("deep white matter", "right", (6.5, 0.0, -4.0)),
        ),  # beside the first, 4 mm away
        (np.s_[14:16, 20, 1], Place("infratentorial", "midline", (0.0, 10.0, -12.0))),
        (np.s_[14:16, 20, 11], Place("deep white matter", "midline", (0.0, 10.0, 8.0))),  # 2 voxels are 4 mm
    ]
    labels = np.zeros(cortex.shape, dtype=np.int32)
    for number, (voxels, _) in enumerate(expected, start=1):
        labels[voxels] = number
    maps = BrainMaps(ventricles, cortex, infratentorial, to_template)
    assert place_lesions(labels, maps, (1.0, 1.0, 2.0)) == [place for _, place in expected]


def test_sides_are_the_patients():
    assert [side_of(x) for x in (-10.0, 1.0, 10.0)] == ["left", "midline", "right"]


def test_a_picture_is_a_png_that_others_read():
    picture = np.random.default_rng(1).integers(0, 256, (13, 7), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png(picture)))), picture)


def test_the_outline_of_one_pixel_has_four_sides():
    mask = np.zeros((4, 4), dtype=bool)
    mask[1, 2] = True
    assert sorted(outline_path(mask).split("M")[1:]) == ["2 1h1", "2 1v1", "2 2h1", "3 1v1"]


def test_the_montage_shows_every_lesion():
    labels = np.zeros((5, 5, 40), dtype=np.int32)
    labels[1, 1, 5], labels[3, 3, 6], labels[2, 2, 30] = 1, 2, 3
    chosen = montage_slices(labels, 1.0)
    assert {1, 2, 3} <= {int(n) for k in chosen for n in np.unique(labels[:, :, k])}


def test_niivue_is_found_in_what_is_installed():
    assert viewer_program() is not None
    assert niivue_module("export { x as default };") is None


def test_what_is_shown_is_never_transparent():
    # Where time 2 has no signal, the viewer would show time 1 below it.
    scan = np.array([0.0, 100.0, 100.0, 0.0], np.float32)
    shown = np.array([True, True, True, False])
    assert (grey_levels(scan, shown, shown) > 0).tolist() == shown.tolist()
