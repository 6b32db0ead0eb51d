"""The page of a case, in a browser and out of it: what it says and shows, with a viewer, without one, and on paper."""

import json
import shutil
import time
from dataclasses import asdict
from html.parser import HTMLParser

import nibabel as nib
import numpy as np
import pytest
from small_case import AFFINE, write_case, write_weights

from lesionwise.case_files import REPORT_PAGE, REPORT_TABLE, Case
from lesionwise.engine import Settings
from lesionwise.lesions import label_lesions, lesion_table
from lesionwise.pipeline import segment_case
from lesionwise.progress import Progress
from lesionwise.report.case_images import CaseImages
from lesionwise.report.page import MAX_PICTURED, case_page, settings_facts

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


def test_a_lesion_links_to_its_still_picture_where_no_viewer_runs(report):
    page = (report / REPORT_PAGE).read_text()
    for number in (1, 2):
        assert f'href="#lesion-{number}"' in page
        assert f'id="lesion-{number}"' in page


@pytest.fixture
def page_of(report):
    """Return a function that gives the page of other lesions, from a mask (x, y, z) of voxels of 2 mm, axes RAS."""

    def made(mask, confidence=None):
        spacing_mm, affine = (2.0, 2.0, 2.0), np.diag([2.0, 2.0, 2.0, 1.0])
        grey = np.where(mask, 200, 90).astype(np.uint8)
        lesions = lesion_table(mask, mask.astype(np.float32), affine, spacing_mm, confidence=confidence)
        table = json.loads((report / REPORT_TABLE).read_text())
        table.pop("places", None)
        table["lesions"] = [asdict(lesion) for lesion in lesions]
        slices = tuple(range(100, 100 + mask.shape[2]))
        labels = label_lesions(mask, spacing_mm)
        images = CaseImages(grey, grey, grey, labels, affine, spacing_mm, slices)
        return case_page(table, images)

    return made


def many_lesions():
    """Return a mask of 54 lesions of one voxel, some of them in the outermost voxels of a slice."""
    mask = np.zeros((60, 70, 12), dtype=bool)
    mask[np.ix_(np.linspace(0, 59, 6).astype(int), [0, 35, 69], [2, 6, 10])] = True
    return mask


class Slices(HTMLParser):
    """What a page says of its pictures: `labels`, and `letters`, the texts in each."""

    def __init__(self, page):
        super().__init__()
        self.labels, self.letters, self.in_text = [], [], False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag == "svg":
            self.labels.append(dict(attrs)["aria-label"])
            self.letters.append([])
        self.in_text = tag == "text"

    def handle_data(self, data):
        if self.in_text:
            self.letters[-1].append(data)
        self.in_text = False


def test_no_two_pictures_have_one_label_and_montage_and_table_count_slices_alike(report):
    table = json.loads((report / REPORT_TABLE).read_text())
    page = (report / REPORT_PAGE).read_text()
    seen = Slices(page)
    assert len(set(seen.labels)) == len(seen.labels)
    for lesion, (x, y, z) in enumerate((entry["centre_mm"] for entry in table["lesions"]), start=1):
        stored = round((np.linalg.inv(AFFINE) @ [x, y, z, 1])[2])  # a ball is largest in its middle
        assert f"lesion {lesion}, axial, slice {stored}, time 1" in seen.labels
        assert f'<td class="number">{stored}</td>' in page
    montage = [at for at, label in enumerate(seen.labels) if not label.startswith("lesion")]
    for at in montage:
        assert seen.labels[at] == f"axial, {seen.letters[at][1]}, time 2"


def test_each_picture_says_what_is_on_its_left(report):
    seen = Slices((report / REPORT_PAGE).read_text())
    assert len(seen.labels) > 2 * 3 * 2
    for label, letters in zip(seen.labels, seen.letters, strict=True):
        assert letters[0] == ("A" if "sagittal" in label else "R")


def test_a_lesion_of_one_voxel_has_no_diameter_and_the_page_says_why(page_of):
    mask = np.zeros((30, 30, 12), dtype=bool)
    mask[10, 10, 6] = True
    assert ">0.0</td>" in page_of(mask)
    assert "Diameter: between voxel centres" in page_of(mask)


def test_a_page_tells_how_sure_a_lesion_is_and_not_by_what_formula(page_of, report):
    mask = np.zeros((30, 30, 12), dtype=bool)
    mask[10, 10, 6] = True
    sure = page_of(mask, confidence=lambda _volume_mm3, _probability: 0.375)
    assert ">confidence</th>" in sure
    assert ">0.38</td>" in sure
    assert ">confidence</th>" not in page_of(mask)
    formula = {"lesion_confidence": {"intercept": -5.26, "per_logit": 2.0}, "tta": True}
    assert settings_facts(formula) == [("tta", "yes")]


def test_a_page_without_a_viewer_speaks_of_none(page_of, monkeypatch):
    monkeypatch.setattr("lesionwise.report.page.viewer_program", lambda: None)
    page = page_of(many_lesions())
    assert f"The {54 - MAX_PICTURED} smallest lesions have no picture here; the montage shows them." in page
    assert "every plane" not in page_of(np.zeros((30, 30, 12), dtype=bool))


@pytest.fixture
def browser():
    """Return headless Chromium."""
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
    driver = webdriver.Chrome(options=options, service=Service(CHROMIUM[1]))
    yield driver
    errors = [line for line in driver.get_log("browser") if line["level"] == "SEVERE"]
    driver.quit()
    assert not errors


@pytest.fixture
def opened(browser):
    """Return a function that opens a report in the browser, with its viewer started."""

    def open_report(folder):
        browser.get((folder / REPORT_PAGE).as_uri())
        end = time.monotonic() + 60
        while not browser.execute_script("return !!window.lesionwiseViewer") and time.monotonic() < end:
            time.sleep(0.2)
        message = browser.find_element("id", "viewer-message").text
        assert browser.execute_script("return !!window.lesionwiseViewer"), message
        return browser

    return open_report


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


@pytest.mark.browser
def test_keys_go_on_moving_the_viewer_when_the_mouse_has_left_it(report, opened):
    from selenium.webdriver import ActionChains

    browser = opened(report)
    ActionChains(browser).click(browser.find_element("id", "view1")).perform()
    ActionChains(browser).move_to_element(browser.find_element("tag name", "h1")).perform()
    before = crosshairs(browser)
    ActionChains(browser).send_keys("l").perform()
    assert (crosshairs(browser)[:, 0] > before[:, 0]).all()


CONTRAST = (
    "return window.lesionwiseViewer.views.map((view) => view.volumes.map((v) => [v.cal_min, v.cal_max]))"
)


@pytest.mark.browser
def test_no_button_changes_the_contrast(report, opened):
    from selenium.webdriver.common.actions.action_builder import ActionBuilder
    from selenium.webdriver.common.actions.mouse_button import MouseButton

    browser = opened(report)
    before = browser.execute_script(CONTRAST)
    canvas = browser.find_element("id", "view1")
    for button in (MouseButton.LEFT, MouseButton.MIDDLE, MouseButton.RIGHT):
        drag = ActionBuilder(browser)
        drag.pointer_action.move_to(canvas, -150, -120).pointer_down(button=button)
        drag.pointer_action.move_by(90, 90).pointer_up(button=button)
        drag.perform()
        assert browser.execute_script(CONTRAST) == before, button
    canvas.send_keys("m")  # NiiVue's key for other drags
    assert browser.execute_script("return window.lesionwiseViewer.views[0].opts.dragMode") == 0


@pytest.mark.browser
def test_the_crosshair_leaves_the_lesion_that_it_is_on_in_sight(report, opened):
    browser = opened(report)
    browser.find_element("css selector", "a.jump").click()
    orange = (
        "const v = window.lesionwiseViewer.views[0]; v.opts.crosshairWidth = arguments[0]; v.drawScene(); const g = v.gl;"
        "const p = new Uint8Array(4 * g.drawingBufferWidth * g.drawingBufferHeight);"
        "g.readPixels(0, 0, g.drawingBufferWidth, g.drawingBufferHeight, g.RGBA, g.UNSIGNED_BYTE, p);"
        "let n = 0; for (let i = 0; i < p.length; i += 4) if (p[i] > p[i + 2] + 60) n++; return n"
    )
    with_crosshair, without = (browser.execute_script(orange, width) for width in (1, 0))
    assert with_crosshair == without > 100


@pytest.mark.browser
def test_the_right_picture_is_named_by_what_it_shows(report, opened):
    browser = opened(report)
    first, second = (browser.find_element("id", name) for name in ("view1", "view2"))
    assert (first.accessible_name, second.accessible_name) == ("Viewer Time 1", "Viewer Time 2")
    browser.execute_script("const f = document.getElementById('fade'); f.value = 0; f.oninput()")
    assert second.accessible_name == "Viewer Time 1"


@pytest.mark.browser
def test_who_follows_a_lesions_link_by_a_key_goes_on_in_the_viewer(report, opened):
    from selenium.webdriver.common.keys import Keys

    browser = opened(report)
    browser.find_elements("css selector", "a.jump")[1].send_keys(Keys.ENTER)
    assert browser.switch_to.active_element.get_attribute("id") == "view2"
    assert "lesion 2: " in browser.find_element("id", "location").text


@pytest.mark.browser
def test_text_of_the_table_can_be_marked(report, opened):
    from selenium.webdriver import ActionChains

    browser = opened(report)
    cell = browser.find_elements("css selector", "tr[data-point] td.number")[-2]  # the second lesion's centre
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", cell)
    before = crosshairs(browser)
    ActionChains(browser).move_to_element_with_offset(cell, 0, 0).click_and_hold().move_by_offset(
        40, 0
    ).release().perform()
    assert browser.execute_script("return String(getSelection())")
    np.testing.assert_array_equal(crosshairs(browser), before)
    browser.execute_script("getSelection().empty()")
    cell.click()
    assert not np.allclose(crosshairs(browser), before)


@pytest.mark.browser
def test_the_number_of_every_lesion_stands_within_its_slice(page_of, browser, tmp_path):
    (tmp_path / REPORT_PAGE).write_text(page_of(many_lesions()))
    browser.get((tmp_path / REPORT_PAGE).as_uri())
    boxes = browser.execute_script(
        "return [...document.querySelectorAll('.tag')].map((tag) => {"
        "  const box = tag.getBBox(), all = tag.ownerSVGElement.viewBox.baseVal;"
        "  return [tag.textContent, box.x, all.width - box.x - box.width, box.y, all.height - box.y - box.height];"
        "})"
    )
    assert {int(number) for number, *_ in boxes} == set(range(1, 55))
    for number, *room in boxes:
        assert min(room[:2]) >= 0, (number, room)
        assert min(room[2:]) >= -3, (number, room)  # of a line, of which a digit takes the middle


@pytest.mark.browser
def test_a_browser_without_javascript_is_shown_nothing_that_needs_it(report, browser):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.get((report / REPORT_PAGE).as_uri())
    text = browser.find_element("tag name", "body").text
    assert "The viewer needs JavaScript" in text
    assert "The viewer starts" not in text
    assert text.count("R marks the patient's right") == 2  # of the pictures and of the montage
    assert not any(
        control.is_displayed() for control in browser.find_elements("css selector", "input, select")
    )


@pytest.mark.browser
def test_with_javascript_outlines_can_be_hidden(report, opened):
    browser = opened(report)
    browser.find_element("id", "show-outlines").click()
    assert not browser.find_element("css selector", ".outline").is_displayed()
