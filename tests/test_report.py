"""The report of a small case: what its page shows, where lesions lie, and that a browser shows it."""

import io
import json
import shutil
import time

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from small_case import AFFINE, SHAPE, new_lesions, write_case, write_weights

from lesionwise.case_files import REPORT_PAGE, REPORT_TABLE, Case
from lesionwise.engine import Settings
from lesionwise.pipeline import segment_case
from lesionwise.preprocessing.atlas import painted_brain
from lesionwise.progress import Progress
from lesionwise.report.case_images import grey_levels
from lesionwise.report.pictures import montage_slices, outline_path, png
from lesionwise.report.places import BrainMaps, Place, place_lesions, region_of, side_of
from lesionwise.report.template_maps import ScanMaps, maps_on_scan, place_case
from lesionwise.report.viewer import niivue_module, viewer_program
from lesionwise.scan_pair import Study, read_pair
from lesionwise.simulation.anatomy import template_affine, template_maps

CHROMIUM = shutil.which("chromium"), shutil.which("chromedriver")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Return the folder of the report of a small case."""
    folder = tmp_path_factory.mktemp("case")
    time1, time2, brain = write_case(folder)
    weights = write_weights(folder / "weights")
    case = Case(time1, time2, folder / "mask.nii.gz", brain_mask=brain, report=folder / "new" / "report")
    segment_case(case, Settings(weights=weights, device="cpu"), Progress())
    return case.report


def test_the_page_holds_everything_and_names_no_file(report):
    page = (report / REPORT_PAGE).read_text()
    table = json.loads((report / REPORT_TABLE).read_text())
    assert table["new_lesions"] == 2
    assert page.count("<tr data-point") == 2
    assert (report / REPORT_PAGE).stat().st_size < 25e6
    assert "time1.nii.gz" not in json.dumps(table)
    for text in (page, json.dumps(table)):
        assert str(report.parent) not in text
    for outside in ('src="http', 'href="http', "url(http"):
        assert outside not in page


def test_a_report_warns_where_the_atlas_does_not_fit_and_gives_no_places(report):
    table = json.loads((report / REPORT_TABLE).read_text())
    assert any("atlas" in line for line in table["warnings"]) == ("places" not in table)


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


@pytest.fixture
def opened():
    """Return a function that opens a report in headless Chromium, with its viewer started."""
    if None in CHROMIUM:
        pytest.skip("chromium and chromedriver are not installed")
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = CHROMIUM[0]
    for flag in (
        *("headless=new", "no-sandbox", "use-gl=angle", "use-angle=swiftshader", "disable-dev-shm-usage"),
        *("enable-unsafe-swiftshader", "window-size=1280,1000"),
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(CHROMIUM[1]))

    def open_report(folder):
        browser.get((folder / REPORT_PAGE).as_uri())
        end = time.monotonic() + 60
        while not browser.execute_script("return !!window.lesionwiseViewer") and time.monotonic() < end:
            time.sleep(0.2)
        message = browser.find_element("id", "viewer-message").text
        assert browser.execute_script("return !!window.lesionwiseViewer"), message
        return browser

    yield open_report
    errors = [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]
    browser.quit()
    assert not errors


def crosshairs(browser):
    """Return where both views look, as fractions of the volume along its axes."""
    return np.array(
        browser.execute_script(
            "return window.lesionwiseViewer.views.map((view) => [...view.scene.crosshairPos])"
        )
    )


@pytest.mark.browser
def test_a_browser_shows_the_volumes(report, opened):
    browser = opened(report)
    for view in (0, 1):
        bright = browser.execute_script(
            "const v = window.lesionwiseViewer.views[arguments[0]]; v.drawScene(); const g = v.gl;"
            "const p = new Uint8Array(4 * g.drawingBufferWidth * g.drawingBufferHeight);"
            "g.readPixels(0, 0, g.drawingBufferWidth, g.drawingBufferHeight, g.RGBA, g.UNSIGNED_BYTE, p);"
            "let n = 0; for (let i = 0; i < p.length; i += 4) if (p[i] > 60) n++; return n / (p.length / 4)",
            view,
        )
        assert bright > 0.05


@pytest.mark.browser
def test_the_viewer_goes_to_each_lesion_of_an_oblique_scan(tmp_path, opened):
    paths = write_case(tmp_path)
    turned = (
        nib.affines.from_matvec(nib.eulerangles.euler2mat(z=0.3, y=-0.2, x=0.25), [30.0, -20.0, 40.0])
        @ AFFINE
    )
    for path in paths:
        image = nib.load(path)
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), turned), path)
    case = Case(*paths[:2], tmp_path / "mask.nii.gz", brain_mask=paths[2], report=tmp_path / "report")
    segment_case(case, Settings(weights=write_weights(tmp_path / "weights"), device="cpu"), Progress())
    browser = opened(case.report)
    labels = "const v = window.lesionwiseViewer.views[0].volumes.find((v) => v.name.startsWith('mask')); "
    links = browser.find_elements("css selector", "a.jump")
    assert len(links) == 2
    seen = []
    for number, link in enumerate(links, start=1):
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", link)
        link.click()
        assert f"lesion {number}: " in browser.find_element("id", "location").text
        for fraction in crosshairs(browser):
            inside = browser.execute_script(
                labels + "const at = v.hdr.dims.slice(1, 4).map((n, k) => Math.floor(arguments[0][k] * n));"
                "return v.getValue(...at)",
                fraction.tolist(),
            )
            assert inside == 1
        seen.append(crosshairs(browser)[0])
    assert not np.allclose(*seen, atol=0.01)


@pytest.mark.browser
def test_keys_move_both_views_through_slices_and_the_place_is_told(report, opened):
    from selenium.webdriver.common.keys import Keys

    browser = opened(report)
    for key, axis, towards in (
        *((Keys.PAGE_UP, 2, 1), (Keys.PAGE_DOWN, 2, -1)),
        *(("h", 0, -1), ("l", 0, 1), ("j", 1, -1), ("k", 1, 1)),
    ):
        before = crosshairs(browser)
        browser.find_element("id", "view2").send_keys(key)
        moved = crosshairs(browser) - before
        assert (np.sign(np.round(moved[:, axis], 4)) == towards).all(), (key, moved)
        assert not np.delete(moved, axis, axis=1).round(4).any()
    browser.find_element("id", "view1").send_keys(Keys.PAGE_UP)
    assert "lesion" not in browser.find_element("id", "location").text
    assert not browser.find_elements("css selector", "tr.chosen")


def test_what_is_shown_is_never_transparent():
    # Where time 2 has no signal, the viewer would show time 1 below it.
    scan = np.array([0.0, 100.0, 100.0, 0.0], np.float32)
    shown = np.array([True, True, True, False])
    assert (grey_levels(scan, shown, shown) > 0).tolist() == shown.tolist()


def test_a_lesion_links_to_its_still_picture_where_no_viewer_runs(report):
    page = (report / REPORT_PAGE).read_text()
    for number in (1, 2):
        assert f'href="#lesion-{number}"' in page
        assert f'id="lesion-{number}"' in page
