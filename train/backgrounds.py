"""Real single scans made ready to serve as both time points: preprocessed as for inference, on a 1 mm grid, with tissue maps.

    python -m train.backgrounds DIR ... --output runs/backgrounds

Each DIR that holds `flair.nii.gz` becomes one `.npz`: a `lesionwise.simulation.anatomy.Anatomy`. The brain mask is
`brain_mask_flair.nii.gz` beside it, or all that is left of a skull-stripped scan, or found as `segment` finds it;
`lesions.nii.gz` marks lesions that are known. Tissue maps and the lesion prior come from the ICBM152 template by
affine registration. A `.key` beside the `.npz` tells which files it was made from: where these change, it is made anew.
"""

from pathlib import Path

import click
import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from scipy import ndimage

from lesionwise.errors import InputError
from lesionwise.files import text_writer, write_whole
from lesionwise.network_grid import network_grid
from lesionwise.preprocessing.bias_field import correct_bias_field
from lesionwise.preprocessing.brain_extraction import PLAUSIBLE_BRAIN_ML, extract_brain
from lesionwise.preprocessing.denoising import denoise
from lesionwise.preprocessing.normalization import normalize
from lesionwise.scan_pair import WORKING_ORDER
from lesionwise.simulation.anatomy import Anatomy, template_maps
from lesionwise.volume import Volume, check_same_grid, read_mask, read_volume, to_orientation
from lesionwise.working_resolution import join_mask, join_voxels
from train.array_files import made_from, store, stored
from train.commandline import OneLineErrors, about_one, by_name

SCAN, BRAIN, LESIONS = "flair.nii.gz", "brain_mask_flair.nii.gz", "lesions.nii.gz"

# How far around the brain the head is kept: residue that an imperfect mask lets through.
_HEAD_MM = 6.0
_MARGIN_MM = 12.0

PREPARATION = 1
"""One more where `prepare` makes something else of the same files."""


def prepare(folder: Path) -> Anatomy:
    """Return the scan of a folder as an Anatomy: masked, N4, NLMeans, normalised, on the network's 1 mm grid.

    Voxels of a fine scan are joined first, as `segment` does.
    """
    read = to_orientation(read_volume(folder / SCAN), WORKING_ORDER)
    scan = join_voxels(read)
    head = np.clip(scan.data, 0, None)
    brain = _beside(folder / BRAIN, read)
    if brain is None:
        brain = _find_brain(head, scan)
    lesions = _beside(folder / LESIONS, read)
    near = ndimage.distance_transform_edt(~brain, sampling=scan.spacing_mm) <= _HEAD_MM
    image = normalize(denoise(correct_bias_field(head * near)), brain)
    grid = network_grid(brain, scan.affine, margin_mm=_MARGIN_MM)
    flair, inside = grid.to_network(image), grid.to_network(brain.astype(np.float32)) > 0.5
    old = np.zeros_like(inside) if lesions is None else grid.to_network(lesions.astype(np.float32)) > 0.5
    grey, white, prior = _template_maps_on(np.where(inside, flair, 0))
    return Anatomy(flair, inside, grey, white, prior * inside, old)


def load(file: Path) -> Anatomy:
    """Return an Anatomy that `prepare` made and the command stored."""
    return Anatomy(**stored(file))


def _beside(file: Path, scan: Volume) -> NDArray[np.bool_] | None:
    """Return a mask on the scan's grid, joined as the scan is, or None where there is no such file."""
    if not file.is_file():
        return None
    mask = to_orientation(read_mask(file), WORKING_ORDER)
    check_same_grid(scan, mask)
    return np.asarray(join_mask(mask).data)


def _find_brain(head: NDArray[np.float32], scan: Volume) -> NDArray[np.bool_]:
    """Return the brain mask of a scan that comes without one: all that is bright where no more than a brain is left."""
    bright = ndimage.binary_opening(head > 0.05 * np.percentile(head, 99), iterations=2)
    if bright.sum() * scan.voxel_mm3 / 1000 <= PLAUSIBLE_BRAIN_ML[1]:
        return np.asarray(ndimage.binary_fill_holes(bright))
    return extract_brain(head, scan.affine)


def _template_maps_on(flair: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the template's grey, white and lesion-prior maps, affinely registered to a skull-stripped (x, y, z) image."""
    maps = template_maps()
    fixed = sitk.GetImageFromArray(np.ascontiguousarray(flair.T))
    moving = {
        name: sitk.GetImageFromArray(np.ascontiguousarray(maps[name].T))
        for name in ("t1", "grey", "white", "lesion_prior")
    }
    masked = sitk.GetImageFromArray(np.ascontiguousarray((maps["t1"] * maps["brain"]).T))
    start = sitk.CenteredTransformInitializer(
        fixed, masked, sitk.AffineTransform(3), sitk.CenteredTransformInitializerFilter.MOMENTS
    )
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(48)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(0.15)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 150, relaxationFactor=0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2])
    method.SetSmoothingSigmasPerLevel([2, 1])
    method.SetInitialTransform(start, inPlace=True)
    method.Execute(fixed, masked)
    found = [
        np.asarray(sitk.GetArrayFromImage(sitk.Resample(moving[name], fixed, start, sitk.sitkLinear)).T)
        for name in ("grey", "white", "lesion_prior")
    ]
    return found[0], found[1], found[2]


@click.command(cls=OneLineErrors)
@click.argument(
    "folders", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option(
    "--output", required=True, type=click.Path(path_type=Path), help="Folder for the prepared scans."
)
def main(folders: tuple[Path, ...], output: Path) -> None:
    """Prepare each of FOLDERS that holds flair.nii.gz; refused where none does, or two have one name."""
    scans = [folder for folder in folders if (folder / SCAN).is_file()]
    if not scans:
        raise InputError(f"{folders[0]}: no flair.nii.gz is in it or in the others; name folders of scans")
    named = by_name(scans)
    for folder in sorted(set(folders) - set(scans)):
        click.echo(f"{folder}: no flair.nii.gz is in it; left out", err=True)
    output.mkdir(parents=True, exist_ok=True)
    for name, folder in named.items():
        # What a scan was made from stands beside it, not in it: its own bytes tell what it shows.
        target, key_file = output / f"{name}.npz", output / f"{name}.key"
        files = [file for file in (SCAN, BRAIN, LESIONS) if (folder / file).is_file()]
        key = made_from(folder, files, PREPARATION)
        if target.is_file() and key_file.is_file() and key_file.read_text() == key:
            click.echo(f"{target.name}: kept, for its scan has not changed")
            continue
        with about_one(name, f"put its brain mask beside the scan ({BRAIN})"):
            anatomy = prepare(folder)
        store(target, anatomy)
        write_whole({key_file: text_writer(key)})
        click.echo(f"{target.name}: {anatomy.flair.shape} voxels, brain {anatomy.brain.sum() / 1e6:.2f} l")


if __name__ == "__main__":
    main()
