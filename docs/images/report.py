"""Photograph the page of a case as README shows it: the upper part, in headless Chromium.

    make demo
    python docs/images/report.py demo/results/patient001/report/report.html docs/images/report.png

For phantoms only: no picture of a patient belongs in the repository. Needs chromium and chromium-driver.
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.wait import WebDriverWait

SIZE_PIXELS = 1240, 1490


def main(page: Path, picture: Path) -> None:
    """Write the picture of a page as a PNG."""
    options = Options()
    options.binary_location = shutil.which("chromium") or sys.exit("chromium is not installed")
    for flag in (
        *("headless=new", "no-sandbox", "use-gl=angle", "use-angle=swiftshader", "enable-unsafe-swiftshader"),
        *("disable-dev-shm-usage", "hide-scrollbars"),
    ):
        options.add_argument(f"--{flag}")
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        width, height = SIZE_PIXELS
        view = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", view)
        browser.get(page.resolve().as_uri())
        WebDriverWait(browser, 120).until(lambda b: b.execute_script("return !!window.lesionwiseViewer"))
        shot = Image.open(io.BytesIO(browser.get_screenshot_as_png()))
    finally:
        browser.quit()
    shot.convert("RGB").save(picture, optimize=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
