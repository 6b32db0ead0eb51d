"""The fixed synthetic validation set: cases by number, a third of them without any change, kept in a folder.

A case is a pure function of its number, of the simulation and of the material (prepared scans, lesion shapes) that it is made
from. Training draws from other seeds, but from the same prepared scans where there are some, each time in a new shape.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from lesionwise import lesions, simulation
from lesionwise.preprocessing import normalization
from lesionwise.simulation.anatomy import deformed, random_anatomy
from lesionwise.simulation.timepoints import LesionPlan, SyntheticPair, simulate_pair
from train import patches
from train.array_files import store, stored
from train.backgrounds import load as load_background
from train.patches import normalised

CASES_SEED = 600_011
"""Of the validation set; no training draws from it."""

CASES = 60
MARGIN_VOXELS = 8
"""As `network_grid` leaves around the brain."""

UNCHANGED_EVERY = 3
"""Cases 0, 3, 6 and so on are unchanged, as `LesionPlan` has it."""


def is_unchanged(number: int) -> bool:
    """Tell whether the case of this number has no change at all."""
    return number % UNCHANGED_EVERY == 0


def make_case(
    seed: int,
    number: int,
    unchanged: bool = False,
    backgrounds: Sequence[Path] = (),
    shapes: Sequence[np.ndarray] = (),
) -> SyntheticPair:
    """Return a case as the network sees one; even ones from the template, odd ones from a prepared scan if there are some.

    `unchanged`: as `LesionPlan` has it.
    """
    rng = np.random.default_rng((seed, number))
    if backgrounds and number % 2:
        anatomy = deformed(load_background(backgrounds[number // 2 % len(backgrounds)]), rng)
    else:
        anatomy = random_anatomy(rng)
    plan = LesionPlan.random(rng, unchanged_share=float(unchanged))
    while True:
        pair = simulate_pair(anatomy, rng, shapes, plan)
        if pair.new_lesions.any() or not plan.new:
            return cropped(normalised(pair))  # else all that was drawn was too small or too faint to be truth


def cropped(pair: SyntheticPair) -> SyntheticPair:
    """Return the pair cut to the box of the brain and the margin that the network's grid has at inference, or less."""
    box = tuple(
        slice(max(0, axis.start - MARGIN_VOXELS), axis.stop + MARGIN_VOXELS)
        for axis in ndimage.find_objects(pair.brain.astype(np.uint8))[0]
    )
    return cut(pair, box)


def cut(pair: SyntheticPair, box: tuple[slice, ...]) -> SyntheticPair:
    """Return the part of a pair that lies in a box."""
    return SyntheticPair(**{name: image[box] for name, image in vars(pair).items()})


def kept_cases(
    folder: Path, count: int, backgrounds: Sequence[Path] = (), shapes: Sequence[np.ndarray] = ()
) -> Iterator[tuple[str, SyntheticPair]]:
    """Yield the first `count` cases with their names, made where the folder does not hold them (some seconds each).

    A case's file is named by all that it is made from, so that another simulation or other material is never mistaken for it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    key = _key(backgrounds, shapes)
    for number in range(count):
        name = f"{number:03d}-{'unchanged' if is_unchanged(number) else 'changed'}"
        file = folder / f"{name}-{key}.npz"
        if not file.is_file():
            store(file, make_case(CASES_SEED, number, is_unchanged(number), backgrounds, shapes))
        yield name, SyntheticPair(**stored(file))


def _key(backgrounds: Sequence[Path], shapes: Sequence[np.ndarray]) -> str:
    """Return what cases are made from as a short text: the code of the simulation and of this module, scans, shapes."""
    # Phantoms are heads for trying the program out: no case is made with them.
    simulating = (f for f in Path(simulation.__path__[0]).glob("*.py") if not f.name.startswith("phantom"))
    others = (Path(str(module.__file__)) for module in (lesions, normalization, patches))
    found = hashlib.sha256()
    for file in (*sorted(simulating), *others, Path(__file__), *backgrounds):
        found.update(file.read_bytes())
    for shape in shapes:
        found.update(repr(shape.shape).encode() + shape.tobytes())
    return found.hexdigest()[:12]
