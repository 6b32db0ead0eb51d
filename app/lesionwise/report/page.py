"""The page of a case: one file of HTML that needs nothing beside it, neither a network nor a server."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lesionwise.report.case_images import CaseImages
from lesionwise.report.pictures import largest_slices, lesion_pictures, montage
from lesionwise.report.places import REGIONS
from lesionwise.report.viewer import viewer_program, viewer_volumes

REPORT_PAGE, REPORT_TABLE = "report.html", "report.json"
"""The names of a report's two files."""

MAX_PICTURED = 40
"""So many lesions have pictures of their own, the largest; all are in the table, the montage and the viewer."""


def case_page(report: Mapping[str, Any], images: CaseImages) -> str:
    """Return the page of a case. `report`: what `segment --json` holds; `images`: what there is to see."""
    program = viewer_program()
    lesions = [_with_points(lesion, images) for lesion in report["lesions"]]
    return str(
        page_environment()
        .get_template("case.html")
        .render(
            report=report,
            lesions=lesions,
            regions=_regions(lesions),
            pictures=[lesion_pictures(images, n) for n in images.lesion_ids()[:MAX_PICTURED]],
            montage=montage(images),
            program=program,
            volumes=asdict(viewer_volumes(images)) if program else None,
            seconds=sum(report["seconds"].values()),
        )
    )


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


def _with_points(lesion: Mapping[str, Any], images: CaseImages) -> dict[str, Any]:
    """Add `point_mm`, the point of the lesion nearest to its centre, and `slice`, the axial slice with most of it."""
    voxels = np.argwhere(images.labels == lesion["id"])
    points = voxels @ images.affine[:3, :3].T + images.affine[:3, 3]
    nearest = points[np.linalg.norm(points - np.asarray(lesion["centre_mm"]), axis=1).argmin()]
    z = largest_slices(images.labels == lesion["id"])[2]
    return {
        **lesion,
        "point_mm": [round(float(mm), 2) for mm in nearest],
        "slice": images.axial_slices[z],
    }


def _regions(lesions: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
    """Return how many lesions lie where, in the order of the criteria, regions without a lesion left out."""
    counts = Counter(lesion["region"] for lesion in lesions if lesion.get("region"))
    return [(region, counts[region]) for region in REGIONS if counts[region]]
