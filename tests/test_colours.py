"""The pages' colours stay apart for people with protanopia, deuteranopia or tritanopia, and texts stand out from the page.

What is seen is simulated as in Machado, Oliveira and Fernandes, "A physiologically-based model for simulation of color vision
deficiency", IEEE TVCG 2009 (the matrices of severity 1, on linear RGB); distances are those of CIE 1976 L*a*b*, in which
2.3 is just noticeable. Colours are read from page.css, where both pages and the viewer take them from.
"""

import re
from importlib.resources import files

import numpy as np
import pytest

FAR = 15.0
"""Six times what is just noticeable."""

SEEN_BY = {
    "all cones": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
TEMPLATES = files("lesionwise.report") / "templates"
GREYS = np.repeat(np.linspace(0, 1, 52)[:, None], 3, axis=1)


def colours():
    """Return the colours by name for light, dark and print: what a later block leaves out is that of the first."""
    blocks = re.findall(r":root \{(.*?)\}", (TEMPLATES / "page.css").read_text(), re.DOTALL)
    told = [dict(re.findall(r"--([a-z-]+): (#[0-9a-f]+)", block)) for block in blocks]
    assert len(told) == 3
    return {name: told[0] | block for name, block in zip(("light", "dark", "print"), told, strict=True)}


def rgb(code):
    digits = code[1:] if len(code) == 7 else "".join(2 * digit for digit in code[1:])
    return np.array([int(digits[k : k + 2], 16) for k in (0, 2, 4)]) / 255


def linear(srgb):
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def lab(srgb, eyes="all cones"):
    """Return L*a*b* (D65) of sRGB colours from 0 to 1, (..., 3), as these eyes see them."""
    seen = np.clip(linear(np.asarray(srgb)) @ np.transpose(SEEN_BY[eyes]), 0, 1)
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )  # IEC 61966-2-1
    x, y, z = np.moveaxis(np.cbrt(seen @ to_xyz.T / to_xyz.sum(axis=1)), -1, 0)
    dark = np.moveaxis(seen @ to_xyz.T / to_xyz.sum(axis=1), -1, 0) <= (6 / 29) ** 3
    x, y, z = (
        np.where(low, value**3 / (3 * (6 / 29) ** 2) + 4 / 29, value)
        for low, value in zip(dark, (x, y, z), strict=True)
    )
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def distance(first, second, eyes):
    """Return the smallest distance between a colour and one or several others."""
    return float(np.linalg.norm(lab(first, eyes) - lab(second, eyes), axis=-1).min())


def contrast(first, second):
    """Return the contrast of two colours as WCAG 2 defines it, 1 to 21."""
    bright = sorted(float(linear(rgb(code)) @ [0.2126, 0.7152, 0.0722]) + 0.05 for code in (first, second))
    return bright[1] / bright[0]


def test_lab_and_the_matrices_by_hand():
    np.testing.assert_allclose(lab([1.0, 1.0, 1.0]), [100, 0, 0], atol=0.05)
    np.testing.assert_allclose(lab([1.0, 0.0, 0.0]), [53.2, 80.1, 67.2], atol=0.1)
    for matrix in SEEN_BY.values():
        np.testing.assert_allclose(np.sum(matrix, axis=1), 1, atol=2e-6)  # grey stays grey
    assert distance([0.8, 0.2, 0.2], [0.4, 0.45, 0.1], "deuteranopia") < FAR  # a red and a green


def over_scan(colour, opacity):
    """Return how a colour looks over each grey of a scan."""
    return opacity * colour + (1 - opacity) * GREYS


def opacities():
    """Return the viewer's opacities by name."""
    line = re.search(r"const OPACITY = \{(.*?)\}", (TEMPLATES / "case.js").read_text())
    return {name: float(value) for name, value in re.findall(r"(\w+): ([\d.]+)", line[1])}


@pytest.mark.parametrize("eyes", SEEN_BY)
def test_lines_over_a_scan_stand_out_from_every_grey_and_from_each_other(eyes):
    lesion, cross = (rgb(colours()["light"][name]) for name in ("lesion", "crosshair"))
    assert distance(lesion, GREYS, eyes) > FAR
    assert distance(cross, GREYS, eyes) > FAR
    assert distance(lesion, cross, eyes) > FAR


@pytest.mark.parametrize("eyes", SEEN_BY)
def test_the_mask_and_the_probability_stand_out_from_every_grey_and_from_each_other(eyes):
    lesion, low, high = (
        rgb(colours()["light"][name]) for name in ("lesion", "probability-low", "probability-high")
    )
    mask = over_scan(lesion, opacities()["mask"])
    for share in np.linspace(0, 1, 11):
        probability = over_scan((1 - share) * low + share * high, opacities()["probability"])
        for grey in GREYS[::3]:
            assert distance(grey, probability, eyes) > FAR
        for seen in mask[::3]:
            assert distance(seen, probability, eyes) > FAR
    for grey in GREYS[::3]:
        assert distance(grey, mask, eyes) > FAR


@pytest.mark.parametrize("eyes", SEEN_BY)
@pytest.mark.parametrize("page", ["light", "dark", "print"])
def test_bars_links_and_failures_stand_out(page, eyes):
    told = {name: rgb(code) for name, code in colours()[page].items()}
    for name, beside in (
        *(("accent", "panel"), ("accent", "text"), ("accent", "alarm")),
        *(("alarm", "page"), ("alarm", "text"), ("warning-line", "page"), ("quiet", "page")),
    ):
        assert distance(told[name], told[beside], eyes) > FAR, (name, beside)


@pytest.mark.parametrize("page", ["light", "dark", "print"])
def test_words_can_be_read(page):
    told = colours()[page]
    for name in ("text", "quiet", "accent", "alarm"):
        for behind in ("page", "panel"):
            assert contrast(told[name], told[behind]) >= 4.5, (name, behind)  # WCAG 2, level AA
    assert contrast(told["text"], told["warning"]) >= 4.5
