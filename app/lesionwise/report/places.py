"""Where a lesion lies, in the words of the McDonald criteria, from maps of the brain on the lesion's grid.

Thompson et al., Diagnosis of multiple sclerosis: 2017 revisions of the McDonald criteria, Lancet Neurology 2018:
periventricular lesions touch the lateral ventricles, juxtacortical ones the cortex, infratentorial ones lie in the
brainstem or the cerebellum; what is in none of these is called deep white matter here. All functions are pure.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

PERIVENTRICULAR, JUXTACORTICAL, INFRATENTORIAL, DEEP_WHITE_MATTER = REGIONS = (
    "periventricular",
    "juxtacortical",
    "infratentorial",
    "deep white matter",
)
"""In the order in which a report lists them."""

CONTACT_MM = 2.0
"""A lesion touches what is no farther than this from its voxels: one voxel of partial volume, and the map's error."""

MIDLINE_MM = 2.0
"""A lesion whose centre is nearer to the middle of the brain than this is on neither side."""

Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class BrainMaps:
    """What lies where: bool masks (x, y, z) on one grid.

    `to_template`: 4 x 4, brings a voxel to mm (right, anterior, superior) in the ICBM152 template, whose middle is x = 0.
    """

    ventricles: Mask
    cortex: Mask
    infratentorial: Mask
    to_template: NDArray[np.float64]


@dataclass(frozen=True)
class Place:
    """Where a lesion lies. `side`: "left", "right" or "midline"; `centre_mni_mm`: its centre in the template."""

    region: str
    side: str
    centre_mni_mm: tuple[float, float, float]

    def as_json(self) -> dict[str, Any]:
        """Return what a report holds of it."""
        return {
            "region": self.region,
            "side": self.side,
            "centre_mni_mm": [round(x, 1) for x in self.centre_mni_mm],
        }


@dataclass(frozen=True)
class CasePlaces:
    """The places of all lesions of a case, number 1 first; `overlap`: of the template's brain with the patient's (Dice)."""

    places: list[Place]
    overlap: float

    def of(self, lesion: int) -> Place:
        """Return the place of a lesion by its number."""
        return self.places[lesion - 1]

    def as_json(self) -> dict[str, Any]:
        """Return what a report holds of how places were found."""
        how = "affine map of the ICBM152 template"
        return {
            "places": {"from": how, "brain_overlap_dice": round(self.overlap, 3), "contact_mm": CONTACT_MM}
        }


def place_lesions(labels: NDArray[np.int32], maps: BrainMaps, spacing_mm: Spacing) -> list[Place]:
    """Return the place of each lesion of an image of lesion numbers (x, y, z), number 1 first."""
    places = []
    for lesion, box in enumerate(ndimage.find_objects(labels), start=1):
        room = _with_room(box, labels.shape, spacing_mm)
        inside = labels[room] == lesion
        region = region_of(
            inside, maps.ventricles[room], maps.cortex[room], maps.infratentorial[room], spacing_mm
        )
        centre = np.argwhere(inside).mean(axis=0) + [axis.start for axis in room]
        x, y, z = (float(mm) for mm in maps.to_template[:3, :3] @ centre + maps.to_template[:3, 3])
        places.append(Place(region, side_of(x), (x, y, z)))
    return places


def region_of(lesion: Mask, ventricles: Mask, cortex: Mask, infratentorial: Mask, spacing_mm: Spacing) -> str:
    """Return the region of a lesion; all masks (x, y, z) are on one grid.

    Most of it below the tentorium: infratentorial. Else it is periventricular where it touches the lateral
    ventricles, juxtacortical where it touches the cortex; one that touches both, the nearer; of equals, the first.
    """
    if np.count_nonzero(lesion & infratentorial) * 2 > np.count_nonzero(lesion):
        return INFRATENTORIAL
    to_ventricles, to_cortex = (distance_mm(lesion, mask, spacing_mm) for mask in (ventricles, cortex))
    if min(to_ventricles, to_cortex) > CONTACT_MM:
        return DEEP_WHITE_MATTER
    return PERIVENTRICULAR if to_ventricles <= to_cortex else JUXTACORTICAL


def distance_mm(lesion: Mask, mask: Mask, spacing_mm: Spacing) -> float:
    """Return the smallest distance in mm between voxel centres of two masks; 0 where they share a voxel."""
    if not mask.any():
        return float("inf")
    away = ndimage.distance_transform_edt(~mask, sampling=spacing_mm)
    return float(away[lesion].min())


def side_of(right_mm: float) -> str:
    """Return the side of a point that lies so far to the right of the brain's middle."""
    if abs(right_mm) <= MIDLINE_MM:
        return "midline"
    return "right" if right_mm > 0 else "left"


def _with_room(box: tuple[slice, ...], shape: tuple[int, ...], spacing_mm: Spacing) -> tuple[slice, ...]:
    """Return the box with enough room around it to tell what the lesion touches."""
    rooms = [int(np.ceil(CONTACT_MM / spacing)) + 1 for spacing in spacing_mm]
    return tuple(
        slice(max(0, axis.start - room), min(size, axis.stop + room))
        for axis, room, size in zip(box, rooms, shape, strict=True)
    )
