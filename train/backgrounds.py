"""Real single scans made ready to serve as both time points: preprocessed as for inference, on a 1 mm grid, with tissue maps.

    python -m train.backgrounds DIR ... --output runs/backgrounds

Each DIR that holds `flair.nii.gz` becomes one `.npz`: a `lesionwise.simulation.anatomy.Anatomy`. The brain mask is
`brain_mask_flair.nii.gz` beside it, or all that is left of a skull-stripped scan, or found as `segment` finds it;
`lesions.nii.gz` marks lesions that are known. Tissue maps and the lesion prior come from the ICBM152 template by
affine registration.
"""

from pathlib import Path

import click
import numpy as np
import SimpleITK as sitk  # noqa: N813
from scipy import ndimage

from lesionwise.preprocessing.bias_field import correct_bias_field
from lesionwise.preprocessing.brain_extraction import PLAUSIBLE_BRAIN_ML, extract_brain
from lesionwise.preprocessing.denoising import denoise
from lesionwise.preprocessing.normalization import normalize
from lesionwise.simulation.anatomy import Anatomy, template_maps

# How far around the brain the head is kept: residue that an imperfect mask lets through.
_HEAD_MM = 6.0
_MARGIN_VOXELS = 12


def prepare(folder: Path) -> Anatomy:
    """Return the scan of a folder as an Anatomy: masked, N4, NLMeans, normalised, 1 mm RAS, cropped to the brain."""
    scan = sitk.ReadImage(str(folder / "flair.nii.gz"), sitk.sitkFloat32)
    mask_file = folder / "brain_mask_flair.nii.gz"
    head = np.clip(sitk.GetArrayFromImage(scan).T, 0, None)
    mask = sitk.ReadImage(str(mask_file)) if mask_file.is_file() else None
    brain = _find_brain(head, scan) if mask is None else sitk.GetArrayFromImage(mask).T > 0
    near = ndimage.distance_transform_edt(~brain, sampling=scan.GetSpacing()) <= _HEAD_MM
    image = normalize(denoise(correct_bias_field(head * near)), brain)
    lesion_file = folder / "lesions.nii.gz"
    lesions = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(lesion_file))).T > 0
        if lesion_file.is_file()
        else np.zeros_like(brain)
    )
    flair, brain, lesions = (_on_1mm_grid(part.astype(np.float32), scan) for part in (image, brain, lesions))
    brain = brain > 0.5
    grey, white, prior = _template_maps_on(np.where(brain, flair, 0))
    anatomy = Anatomy(flair, brain, grey, white, prior * brain, lesions > 0.5)
    box = tuple(
        slice(max(0, s.start - _MARGIN_VOXELS), s.stop + _MARGIN_VOXELS)
        for s in ndimage.find_objects(brain.astype(np.uint8))[0]
    )
    return Anatomy(*(np.ascontiguousarray(part[box]) for part in vars(anatomy).values()))


def load(file: Path) -> Anatomy:
    """Return an Anatomy that `prepare` made and the command stored."""
    with np.load(file) as arrays:
        return Anatomy(
            **{
                name: arrays[name].astype(np.float32 if arrays[name].dtype == np.float16 else bool)
                for name in arrays
            }
        )


def _find_brain(head: np.ndarray, scan: sitk.Image) -> np.ndarray:
    """Return the brain mask of a scan that comes without one: all that is bright where no more than a brain is left."""
    bright = ndimage.binary_opening(head > 0.05 * np.percentile(head, 99), iterations=2)
    if bright.sum() * np.prod(scan.GetSpacing()) / 1000 <= PLAUSIBLE_BRAIN_ML[1]:
        return np.asarray(ndimage.binary_fill_holes(bright))
    affine = np.eye(4)
    affine[:3, :3] = np.diag([-1, -1, 1]) @ np.reshape(scan.GetDirection(), (3, 3)) * scan.GetSpacing()
    return extract_brain(head, affine)


def _on_1mm_grid(image: np.ndarray, like: sitk.Image) -> np.ndarray:
    """Return an (x, y, z) image of the scan's grid on a 1 mm grid in RAS orientation, linearly."""
    volume = sitk.GetImageFromArray(np.ascontiguousarray(image.T))
    volume.CopyInformation(like)
    volume = sitk.DICOMOrient(volume, "RAS")
    size = [int(np.ceil(n * s)) for n, s in zip(volume.GetSize(), volume.GetSpacing(), strict=True)]
    grid = sitk.Image(size, sitk.sitkFloat32)
    grid.SetDirection(volume.GetDirection())
    grid.SetOrigin(volume.GetOrigin())
    return np.asarray(
        sitk.GetArrayFromImage(sitk.Resample(volume, grid, sitk.Transform(), sitk.sitkLinear)).T
    )


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


@click.command()
@click.argument(
    "folders", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option(
    "--output", required=True, type=click.Path(path_type=Path), help="Folder for the prepared scans."
)
def main(folders: tuple[Path, ...], output: Path) -> None:
    """Prepare each of FOLDERS that holds flair.nii.gz."""
    output.mkdir(parents=True, exist_ok=True)
    for folder in folders:
        if not (folder / "flair.nii.gz").is_file():
            continue
        target = output / f"{folder.name}.npz"
        if target.is_file():
            continue
        anatomy = prepare(folder)
        stored = {n: a if a.dtype == bool else a.astype(np.float16) for n, a in vars(anatomy).items()}
        np.savez_compressed(target, **stored)
        click.echo(f"{target.name}: {anatomy.flair.shape} voxels, brain {anatomy.brain.sum() / 1e6:.2f} l")


if __name__ == "__main__":
    main()
