"""Two synthetic time points of one anatomy, with the truth: the lesions that only time 2 has.

After the time-point synthesis of Kamraoui et al. (Frontiers in Neuroimaging 2022): lesions are drawn into both
times, into time 2 only (the truth) or into time 1 only, and each time is then acquired on its own.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from lesionwise.lesions import remove_small_lesions
from lesionwise.simulation.acquisition import Acquisition, acquire, coverage, in_slices, signal_left
from lesionwise.simulation.ageing import narrower_ventricles
from lesionwise.simulation.anatomy import Anatomy
from lesionwise.simulation.erasing import BRIGHTEST_HEALTHY, SURROUNDINGS_MM, choose, healthy_around
from lesionwise.simulation.fields import smooth_field
from lesionwise.simulation.lesions import SyntheticLesion, draw, fractions
from lesionwise.simulation.places import DARKEST_TISSUE, RIM_SHARE, Places

# A lesion that is less brighter than before and than the tissue around it, on average over its outline and in units of the
# white-matter peak, is none that an annotator draws: of the 41 that the references of the two real pairs hold at 1 mm, 37
# rise by more. Along fluid much rises that is no brighter than white matter then: a ventricle looks narrower, no more.
VISIBLE_RISE = 0.12
# Annotators outline a lesion generously: with the rim where it fills this share of a voxel of what it fills at most.
OUTLINED_SHARE = 0.35
# Less of a lesion than this in a voxel, as the scan shows it, belongs to nothing that is outlined.
FAINTEST_SHARE = 0.1
# Voxels between those on which surroundings are looked at.
_EVERY = 2
SPACING_MM = (1.0, 1.0, 1.0)
# How far the walls of the ventricles move between the times: mean and standard deviation.
WIDENING_MM = (0.2, 0.4)
# Shares of the lesions that a scan itself shows which appear and which vanish between the times, where anything does.
REAL_NEW, REAL_VANISHED = 0.2, 0.06


@dataclass(frozen=True)
class LesionPlan:
    """How many lesions of which kind a case has."""

    stable: int
    new: int
    vanished: int
    distractors: int
    specks: int = 0
    grown: int = 0

    @staticmethod
    def random(rng: np.random.Generator, unchanged_share: float = 0.34) -> "LesionPlan":
        """Draw a plan; `unchanged_share` of the cases have neither new nor grown nor vanished lesions."""
        changed = rng.random() >= unchanged_share
        return LesionPlan(
            stable=int(rng.geometric(0.08)) - 1,
            new=int(np.clip(rng.geometric(0.16), 1, 25)) if changed else 0,
            vanished=int(rng.geometric(0.4)) - 1 if changed else 0,
            distractors=int(rng.poisson(20)),
            specks=int(rng.poisson(6)),
            grown=int(rng.geometric(0.4)) - 1 if changed else 0,
        )


@dataclass(frozen=True)
class SyntheticPair:
    """Two time points of one anatomy on one grid of 1 mm voxels; arrays are (x, y, z).

    Attributes:
        time1, time2: float32 intensities, about 1 at the white-matter peak.
        brain: bool, the brain mask as a program would find it (not exact).
        new_lesions: bool, the truth.
        old_lesions: bool, lesions of time 1: stable or vanished.
    """

    time1: np.ndarray
    time2: np.ndarray
    brain: np.ndarray
    new_lesions: np.ndarray
    old_lesions: np.ndarray


def simulate_pair(
    anatomy: Anatomy,
    rng: np.random.Generator,
    shapes: Sequence[np.ndarray] = (),
    plan: LesionPlan | None = None,
    same_protocol_share: float = 0.6,
    scans: tuple[Acquisition, Acquisition] | None = None,
    rim_share: float = RIM_SHARE,
) -> SyntheticPair:
    """Return two synthetic time points of an anatomy.

    Args:
        anatomy: the head; of the lesions that it already shows some are taken out of one of the times.
        rng: the only source of chance.
        shapes: real lesion shapes (bool arrays, 1 mm) to draw from beside random blobs.
        plan: how many lesions; drawn if None.
        same_protocol_share: share of the cases in which both times are scanned with one protocol.
        scans: how the two times are scanned; drawn if None. The truth is right where the second one is not moved.
        rim_share: of the lesions that are drawn, lie along the wall of a ventricle.
    """
    plan = plan or LesionPlan.random(rng)
    shape = anatomy.flair.shape
    where = Places(anatomy, rng, rim_share)
    stable = where.draw(plan.stable, shapes, rng, median_mm3=60.0)
    vanished = where.draw(plan.vanished, shapes, rng, median_mm3=40.0)
    growing = where.draw_grown(plan.grown, shapes, rng, median_mm3=120.0)
    earlier = [was for was, _ in growing]
    drawn = where.draw(plan.new, shapes, rng, median_mm3=45.0, grown_from=stable) + [
        now for _, now in growing
    ]
    real = choose(anatomy, rng, *((REAL_NEW, REAL_VANISHED) if plan.new else (0.0, 0.0)))
    old_fraction = fractions([*stable, *earlier, *vanished], shape)
    before = _with(_with(real.image(real.vanished), _as_seen(stable, rng), rng), [*earlier, *vanished], rng)
    unchanged = _with(_with(real.healthy, _as_seen(stable, rng), rng), earlier, rng)
    after = _with(np.maximum(unchanged, real.image(real.appeared)), drawn, rng)
    scan1, scan2 = scans or random_scans(rng, same_protocol_share)
    # What was lesion before is not new, even where a new lesion was drawn over it.
    old = (old_fraction > 0.5) | (anatomy.old_lesions & ~real.appeared)
    not_old = (1 - old_fraction) * ~old
    new_fraction = np.maximum(fractions(drawn, shape), real.appeared)
    risen = after - np.maximum(unchanged, surroundings(real.healthy))
    outline = ~old & _outlined(new_fraction * not_old, np.maximum(risen, 0) * not_old, scan2)
    seen_ones = [lesion for lesion in drawn if _holds_some_of(lesion, outline)]
    seen_real = _components_with_some_of(real.appeared, outline)
    if len(seen_ones) < len(drawn) or (seen_real < real.appeared).any():
        # What nobody would outline is not there: to be taught that it is nothing would make the network blind to what is
        # only a little brighter, and to be taught that it is a lesion, see them where there are none.
        after = _with(np.maximum(unchanged, real.image(seen_real)), seen_ones, rng)
    for image in (before, after):
        draw(image, where.distractors(plan.distractors, rng), rng)
        draw(image, where.specks(plan.specks, rng), rng)
    time1 = acquire(before, anatomy.grey, scan1, rng, narrower_ventricles(anatomy, scan1.ventricles_mm))
    time2 = acquire(after, anatomy.grey, scan2, rng)
    # Where one of the scans did not look, nothing can be judged; its last slice may still be in the brain mask.
    seen = np.minimum(coverage(shape, scan1), coverage(shape, scan2))
    brain = _imperfect(anatomy.brain, rng) & (seen > 0.3)
    truth = remove_small_lesions(outline & brain & (seen == 1), SPACING_MM)
    return SyntheticPair(time1, time2, brain, truth, old)


def random_scans(
    rng: np.random.Generator, same_protocol_share: float = 0.6
) -> tuple[Acquisition, Acquisition]:
    """Draw how the two times are scanned: with one protocol, or each with its own; ventricles mostly widen in between.

    The registration error is the first one's, see `_seen_from_the_second`.
    """
    scan1 = replace(Acquisition.random(rng), ventricles_mm=float(rng.normal(*WIDENING_MM)))
    scan2 = Acquisition.random(rng, scan1 if rng.random() < same_protocol_share else None)
    return _seen_from_the_second(scan1, scan2)


def _seen_from_the_second(scan1: Acquisition, scan2: Acquisition) -> tuple[Acquisition, Acquisition]:
    """Return the scans with what both were moved by as the first one's registration error.

    A truth is outlined on the second scan: that one must lie where the lesions were drawn.
    """
    first = replace(
        scan1,
        shift_mm=_apart(scan1.shift_mm, scan2.shift_mm),
        turn_rad=_apart(scan1.turn_rad, scan2.turn_rad),
        elastic_mm=math.hypot(scan1.elastic_mm, scan2.elastic_mm),
    )
    return first, replace(scan2, shift_mm=(0.0, 0.0, 0.0), turn_rad=(0.0, 0.0, 0.0), elastic_mm=0.0)


def _apart(a: tuple[float, float, float], b: tuple[float, float, float]) -> tuple[float, float, float]:
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


def surroundings(image: np.ndarray) -> np.ndarray:
    """Return how bright the healthy tissue around each voxel is, white matter at most, float32 (x, y, z).

    It is smooth: made on every `_EVERY`-th voxel.
    """
    coarse = image[::_EVERY, ::_EVERY, ::_EVERY]
    healthy = (coarse > DARKEST_TISSUE) & (coarse < BRIGHTEST_HEALTHY)
    mean = np.minimum(healthy_around(coarse, healthy, SURROUNDINGS_MM / _EVERY), 1)
    for axis, length in enumerate(image.shape):
        mean = mean.repeat(_EVERY, axis=axis).take(range(length), axis=axis)
    return np.asarray(mean)


def _outlined(fraction: np.ndarray, rise: np.ndarray, scan: Acquisition) -> np.ndarray:
    """Return what an annotator would outline of new lesions, as bool.

    `fraction`: how much of each voxel is new lesion; `rise`: how much brighter that makes it than it was and than the tissue
    around it. Each lesion is outlined at
    `OUTLINED_SHARE` of its own highest fraction as the scan shows it: through thick slices a small lesion is fainter and
    wider than it is. The fraction counts, not the brightness: a lesion has darker parts.
    """
    outlined = np.zeros(rise.shape, dtype=bool)
    if not rise.any():
        return outlined
    received = (rise * signal_left(rise.shape, scan)).astype(np.float32)
    share, brighter = in_slices(fraction.astype(np.float32), scan), in_slices(received, scan)
    visible = brighter > VISIBLE_RISE / 2
    labels, _ = ndimage.label(visible & (share > FAINTEST_SHARE))
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        one = labels[box] == number
        inside = one & (share[box] >= OUTLINED_SHARE * share[box][one].max())
        if brighter[box][inside].mean() >= VISIBLE_RISE:
            outlined[box] |= inside
    return outlined


def _holds_some_of(lesion: SyntheticLesion, outline: np.ndarray) -> bool:
    """Tell whether anything of a lesion is in an outline."""
    return bool((outline[lesion.box] & (lesion.fraction > FAINTEST_SHARE)).any())


def _components_with_some_of(lesions: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """Return those of the lesions (bool) that hold something of an outline."""
    labels, count = ndimage.label(lesions)
    kept = np.bincount(labels[outline], minlength=count + 1) > 0
    kept[0] = False
    return np.asarray(kept[labels])


def _with(image: np.ndarray, lesions: Sequence[SyntheticLesion], rng: np.random.Generator) -> np.ndarray:
    """Return a copy of an image with lesions drawn into it."""
    drawn = image.copy()
    draw(drawn, lesions, rng)
    return drawn


def _as_seen(lesions: Sequence[SyntheticLesion], rng: np.random.Generator) -> list[SyntheticLesion]:
    """Return stable lesions as one scan shows them: a little brighter or duller, a little larger or smaller."""
    return [
        SyntheticLesion(
            lesion.box,
            lesion.fraction ** np.float32(np.exp(rng.normal(0, 0.2))),
            1 + (lesion.brightness - 1) * float(np.exp(rng.normal(0, 0.1))),
        )
        for lesion in lesions
    ]


def _imperfect(brain: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the mask with an uneven surface, up to about 3 mm in or out."""
    soft = ndimage.gaussian_filter(brain.astype(np.float32), 1.5)
    level = 0.5 + rng.normal(0, 0.12) + 0.18 * smooth_field(brain.shape, rng, 20.0)
    return np.asarray(soft > np.clip(level, 0.03, 0.9))
