"""What a scanner does to an anatomy: protocol contrast, resolution, ringing, slices, noise, bias, motion, registration error.

Each function takes and returns a float32 (x, y, z) image with 1 mm voxels; `Acquisition.random` only draws the
parameters and `acquire` applies them, so that a drawn acquisition can be shown, stored and repeated.
"""

from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

from lesionwise.simulation.fields import displacement_field, smooth_field, warp

_FWHM_PER_SIGMA = 2.3548


@dataclass(frozen=True)
class Acquisition:
    """The parameters of one scan; lengths in mm, noise in units of the white-matter peak.

    `ringing` is the share of the spatial frequencies along the phase-encoding axis that the scan leaves out (Gibbs).
    `dropout` is the share of the signal that is lost at the centre of a spot, which lies at `dropout_centre` (shares of the
    image's axes) and is `dropout_size_mm` wide: standard deviations of a Gaussian.
    `bias` is what the correction of the bias field leaves: between the scans of the two real pairs, 0.006 and 0.016 (standard
    deviation over white matter of the logarithm of their ratio, means of 10 mm).
    `resampled` is the share of each neighbour in a voxel, along each axis, after the scan was brought to the common grid.
    `ventricles_mm` tells of the patient, not of the scanner: how much narrower the ventricles were, see `ageing`.
    """

    gamma: float
    gamma_regional: float
    grey_gain: float
    slice_axis: int
    slice_thickness_mm: float
    slice_phase: float
    in_plane_fwhm_mm: float
    sharpening: float
    noise: float
    bias: float
    ghost: float
    shift_mm: tuple[float, float, float]
    turn_rad: tuple[float, float, float]
    elastic_mm: float
    missing_voxels: int = 0
    dropout: float = 0.0
    dropout_centre: tuple[float, float, float] = (0.5, 0.5, 0.2)
    dropout_size_mm: tuple[float, float, float] = (12.0, 12.0, 12.0)
    ringing: float = 0.0
    resampled: tuple[float, float, float] = (0.0, 0.0, 0.0)
    ventricles_mm: float = 0.0

    @staticmethod
    def random(rng: np.random.Generator, protocol: "Acquisition | None" = None) -> "Acquisition":
        """Draw a scan. Given a `protocol`, contrast and resolution stay near it (the same scanner again)."""
        thickness = float(rng.choice([1.0, 1.0, 1.2, 2.0, 3.0, 3.0, 3.3, 4.0, 5.0]))
        new = Acquisition(
            gamma=float(np.exp(rng.normal(0, 0.16))),
            gamma_regional=float(abs(rng.normal(0, 0.08))),
            grey_gain=float(rng.normal(0, 0.05)),
            slice_axis=int(rng.choice([2, 2, 2, 2, 0, 1])),
            slice_thickness_mm=thickness,
            slice_phase=float(rng.uniform()),
            in_plane_fwhm_mm=float(rng.uniform(0.4, 1.7)),
            sharpening=float(rng.uniform(0.2, 1.2)) if rng.random() < 0.2 else 0.0,
            noise=float(np.exp(rng.uniform(np.log(0.004), np.log(0.05)))),
            bias=float(abs(rng.normal(0, 0.03))),
            ghost=float(rng.uniform(0.01, 0.06)) if rng.random() < 0.1 else 0.0,
            shift_mm=_three(rng.normal(0, 0.35, 3)),
            turn_rad=_three(rng.normal(0, 0.006, 3)),
            elastic_mm=float(rng.uniform(0, 0.5)),
            missing_voxels=int(rng.integers(12, 45)) if rng.random() < 0.12 else 0,
            # In the lower part of the head: there air and flow make signal drop out.
            dropout=float(rng.uniform(0.2, 0.9)) if rng.random() < 0.25 else 0.0,
            dropout_centre=_three(rng.uniform((0.3, 0.25, 0.05), (0.7, 0.9, 0.4))),
            dropout_size_mm=_three(rng.uniform(6, 22, 3)),
            ringing=float(rng.uniform(0.1, 0.45)) if rng.random() < 0.2 else 0.0,
            resampled=_three(rng.uniform(0, 0.2, 3)) if rng.random() < 0.7 else (0.0, 0.0, 0.0),
        )
        if protocol is None:
            return new
        fields = dict(vars(new))
        for name in ("slice_axis", "slice_thickness_mm", "in_plane_fwhm_mm", "sharpening", "ringing"):
            fields[name] = getattr(protocol, name)
        fields["gamma"] = protocol.gamma * float(np.exp(rng.normal(0, 0.04)))
        fields["grey_gain"] = protocol.grey_gain + float(rng.normal(0, 0.015))
        return Acquisition(**fields)


def acquire(
    image: np.ndarray,
    grey: np.ndarray,
    scan: Acquisition,
    rng: np.random.Generator,
    displacement_mm: np.ndarray | None = None,
) -> np.ndarray:
    """Return the image as this scan would show it.

    `grey` is the grey-matter fraction; `rng` draws noise and fields; `displacement_mm` (3, x, y, z): how the anatomy itself
    was moved when it was scanned.
    """
    shape = image.shape
    gamma: np.ndarray | float = scan.gamma
    if scan.gamma_regional > 0.01:
        gamma = scan.gamma * (1 + scan.gamma_regional * smooth_field(shape, rng, 35.0))
    out = np.clip(image, 1e-3, None) ** np.asarray(gamma, dtype=np.float32)
    out *= 1 + scan.grey_gain * grey
    out *= 1 + scan.bias * smooth_field(shape, rng, 60.0)
    out *= signal_left(shape, scan)
    turn = np.eye(3) + _skew(scan.turn_rad)
    field = displacement_field(shape, rng, scan.elastic_mm, 25.0) if scan.elastic_mm > 0.02 else None
    if displacement_mm is not None:
        field = displacement_mm if field is None else field + displacement_mm
    out = warp(out[None], turn, np.asarray(scan.shift_mm), field)[0]
    if scan.ringing:
        out = _without_high_frequencies(out, scan.ringing, axis=1 if scan.slice_axis != 1 else 2)
    if scan.ghost:
        out = out + scan.ghost * np.roll(out, shape[1] // 3, axis=1)
    out = in_slices(out, scan, rng, scan.noise)
    if scan.sharpening:
        out = out + scan.sharpening * (out - ndimage.gaussian_filter(out, 0.8))
    return np.asarray(np.clip(out, 0, None) * coverage(shape, scan), dtype=np.float32)


def coverage(shape: tuple[int, ...], scan: Acquisition) -> np.ndarray:
    """Return how much of each voxel the scan's field of view holds: (1, 1, z) float32, 0 below it, 1 inside."""
    ramp_mm = max(1.0, scan.slice_thickness_mm)
    slices = np.clip((np.arange(shape[2]) - scan.missing_voxels + 1) / ramp_mm, 0, 1)
    return slices.astype(np.float32)[None, None] if scan.missing_voxels else np.ones((1, 1, 1), np.float32)


def signal_left(shape: tuple[int, ...], scan: Acquisition) -> np.ndarray:
    """Return which share of its signal each voxel keeps where some drops out: (x, y, z) float32, or (1, 1, 1) of ones."""
    if not scan.dropout:
        return np.ones((1, 1, 1), np.float32)
    squared = [
        ((np.arange(n) - share * n) / size) ** 2
        for n, share, size in zip(shape, scan.dropout_centre, scan.dropout_size_mm, strict=True)
    ]
    spot = np.exp(-0.5 * (squared[0][:, None, None] + squared[1][:, None] + squared[2]))
    return np.asarray(1 - scan.dropout * spot, dtype=np.float32)


def in_slices(
    image: np.ndarray, scan: Acquisition, rng: np.random.Generator | None = None, noise: float = 0.0
) -> np.ndarray:
    """Return the image through the scan's point spread: in-plane blur, slices of its thickness, noise, back to 1 mm."""
    axis = scan.slice_axis
    out = image
    sigma = scan.in_plane_fwhm_mm / _FWHM_PER_SIGMA
    for other in {0, 1, 2} - {axis}:
        if sigma > 0.25:
            out = ndimage.gaussian_filter1d(out, sigma, axis=other)
    thick = scan.slice_thickness_mm > 1.0
    if thick:
        out = ndimage.gaussian_filter1d(out, scan.slice_thickness_mm / _FWHM_PER_SIGMA, axis=axis)
        positions = np.arange(
            scan.slice_phase * scan.slice_thickness_mm, image.shape[axis] - 1, scan.slice_thickness_mm
        )
        out = _interpolate(out, positions, axis)
    if noise and rng is not None:
        real, imaginary = (noise * rng.standard_normal(out.shape, dtype=np.float32) for _ in range(2))
        out = np.sqrt((out + real) ** 2 + imaginary**2)
    if thick:
        back = (np.arange(image.shape[axis]) - positions[0]) / scan.slice_thickness_mm
        out = _interpolate(out, np.clip(back, 0, len(positions) - 1), axis)
    for other, share in enumerate(scan.resampled):
        if share:
            out = ndimage.correlate1d(out, (share, 1 - 2 * share, share), axis=other, mode="nearest")
    return np.asarray(out, dtype=np.float32)


def _without_high_frequencies(image: np.ndarray, share: float, axis: int) -> np.ndarray:
    """Return the image without the highest `share` of its spatial frequencies along an axis: edges ring."""
    spectrum = fft.rfft(image, axis=axis)
    kept = round((1 - share) * spectrum.shape[axis])
    spectrum[(slice(None),) * axis + (slice(kept, None),)] = 0
    return np.asarray(fft.irfft(spectrum, n=image.shape[axis], axis=axis), dtype=np.float32)


def _interpolate(image: np.ndarray, positions: np.ndarray, axis: int) -> np.ndarray:
    """Return the image linearly interpolated at voxel positions along one axis."""
    low = np.clip(np.floor(positions).astype(int), 0, image.shape[axis] - 2)
    shape = [1, 1, 1]
    shape[axis] = -1
    weight = (positions - low).astype(np.float32).reshape(shape)
    first = image.take(low, axis=axis)
    return np.asarray(first + weight * (image.take(low + 1, axis=axis) - first))


def _skew(angles: tuple[float, float, float]) -> np.ndarray:
    x, y, z = angles
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])


def _three(values: np.ndarray) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])
