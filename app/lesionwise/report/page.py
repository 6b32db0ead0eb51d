"""The page of a case: one file of HTML that needs nothing beside it, neither a network nor a server."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from scipy import ndimage

from lesionwise.lesions import Box
from lesionwise.report.case_images import CaseImages
from lesionwise.report.pictures import largest_slices, lesion_pictures, montage
from lesionwise.report.places import REGIONS
from lesionwise.report.viewer import viewer_program, viewer_volumes

MAX_PICTURED = 40
"""So many lesions have pictures of their own, the largest; all are in the table, the montage and the viewer."""


def case_page(report: Mapping[str, Any], images: CaseImages) -> str:
    """Return the page of a case. `report`: what `segment --json` holds; `images`: what there is to see."""
    program = viewer_program()
    boxes = ndimage.find_objects(images.labels)
    lesions = [_with_points(lesion, images, boxes[lesion["id"] - 1]) for lesion in report["lesions"]]
    return str(
        page_environment()
        .get_template("case.html")
        .render(
            report=report,
            version=report["lesionwise"],
            summary=summary(report),
            lesions=lesions,
            pictures=[lesion_pictures(images, n) for n in images.lesion_ids()[:MAX_PICTURED]],
            montage=montage(images),
            program=program,
            volumes=asdict(viewer_volumes(images)) if program else None,
            run=run_facts(report),
        )
    )


def summary(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the numbers at the head of the page: (what, how much); regions without a lesion are left out."""
    counts = Counter(lesion["region"] for lesion in report["lesions"] if lesion.get("region"))
    return [
        ("new lesions", f"{report['new_lesions']}"),
        ("their volume", f"{report['new_lesion_volume_mm3']:.0f} mm³"),
        *((region, f"{counts[region]}") for region in REGIONS if counts[region]),
        ("brain", f"{report['brain_volume_ml']:.0f} ml"),
    ]


def run_facts(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what the case was computed from and by what: (what, its value)."""
    facts = [("brain found by", report["brain_extraction"])]
    for name, scan in report["scans"].items():
        size, voxel = (" × ".join(f"{x:g}" for x in scan[key]) for key in ("size_voxels", "voxel_mm"))
        facts.append((f"scan, {_words(name)}", f"{size} voxels of {voxel} mm"))
    if registration := report.get("registration"):
        facts.append(("rotation between the scans", f"{registration['rotation_degrees']}°"))
        facts.append(("similarity after registration", f"{registration['similarity']} (1: equal)"))
    residual_mm = report["registration_residual_mm"]
    apart = "not measured" if residual_mm is None else f"{residual_mm:.1f} mm on average in the brain"
    facts.append(("time points still apart", apart))
    facts += settings_facts(report["settings"])
    facts.append(("time", f"{sum(report['seconds'].values()):.0f} s"))
    facts.append(("versions", ", ".join(f"{name} {value}" for name, value in report["versions"].items())))
    facts += [(f"{what}, sha256", report[f"{what}_sha256"]) for what in ("program", "weights")]
    return facts + [(f"{_words(name)}, sha256", value) for name, value in report["inputs_sha256"].items()]


def settings_facts(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the settings as a page says them: (what, its value).

    The formula of lesions' confidence is left to report.json: its coefficients tell a reader nothing.
    """
    return [
        (_words(name), _in_words(value)) for name, value in settings.items() if name != "lesion_confidence"
    ]


def _words(name: str) -> str:
    """Return the name of a field as a page says it."""
    return name.replace("_", " ").replace("time1", "time 1").replace("time2", "time 2")


def _in_words(value: object) -> str:
    """Return a setting as a page says it."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:g}"
    if value is None or isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


@cache
def page_environment() -> Environment:
    """Return what renders pages: everything that is put into one is escaped, styles and scripts are the package's own."""
    environment = Environment(
        loader=PackageLoader("lesionwise.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["asset"] = _asset
    return environment


def _asset(name: str) -> Markup:
    """Return a style sheet or script of the package, as it is."""
    return Markup((files("lesionwise.report") / "templates" / name).read_text(encoding="utf-8"))


def _with_points(lesion: Mapping[str, Any], images: CaseImages, box: Box) -> dict[str, Any]:
    """Add `point_mm`, the point of the lesion nearest to its centre, and `slice`, the axial slice with most of it.

    `box`: the slices (x, y, z) that just hold the lesion.
    """
    inside = images.labels[box] == lesion["id"]
    start = [axis.start for axis in box]
    points = (np.argwhere(inside) + start) @ images.affine[:3, :3].T + images.affine[:3, 3]
    nearest = points[np.linalg.norm(points - np.asarray(lesion["centre_mm"]), axis=1).argmin()]
    z = largest_slices(inside)[2] + start[2]
    return {
        **lesion,
        "point_mm": [round(float(mm), 2) for mm in nearest],
        "slice": images.axial_slices[z],
    }
