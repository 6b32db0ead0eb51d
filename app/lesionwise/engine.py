"""How a case is computed, and what computes it: settings, and the weights on their device."""

from dataclasses import dataclass, field
from pathlib import Path

import torch

from lesionwise.allowed import (
    BRAIN_EXTRACTIONS,
    CERTAINTY,
    DEVICES,
    OUTPUT_GRIDS,
    PRECISIONS,
    THREADS,
    THRESHOLD,
    check_choice,
    check_number,
)
from lesionwise.calibration import LesionConfidence, mirrored
from lesionwise.devices import choose_device, choose_precision, describe, use_threads
from lesionwise.inference import Runner, Windows, network_runner
from lesionwise.lesions import OperatingPoint
from lesionwise.preprocessing.brain_routes import DEFAULT_EXTRACTION
from lesionwise.preprocessing.recipe import DEFAULT_RECIPE, RECIPES, Recipe
from lesionwise.progress import Progress
from lesionwise.scan_pair import DEFAULT_OUTPUT_GRID
from lesionwise.weights import Weights, find_weights, load_weights


@dataclass(frozen=True)
class Settings:
    """How a case is computed. `threshold` and `certainty` None: the weights' own. `threads` 0: all that may be used.
    `tta`: look at mirrored heads, too (test-time augmentation).

    `output_grid` counts with `register` only: the mask then lies on the grid of "time1", "time2" or "halfway".
    Raises `UsageError` for a value that the command line would refuse.
    """

    recipe: Recipe = RECIPES[DEFAULT_RECIPE]
    register: bool = False
    output_grid: str = DEFAULT_OUTPUT_GRID
    brain_extraction: str = DEFAULT_EXTRACTION
    threshold: float | None = None
    certainty: float | None = None
    windows: Windows = field(default_factory=Windows)
    tta: bool = False
    weights: Path | None = None
    threads: int = 1
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        check_choice("output_grid", self.output_grid, OUTPUT_GRIDS)
        check_choice("brain_extraction", self.brain_extraction, BRAIN_EXTRACTIONS)
        check_choice("device", self.device, DEVICES)
        check_choice("precision", self.precision, PRECISIONS)
        check_number("threads", self.threads, THREADS, whole=True)
        if self.threshold is not None:
            check_number("threshold", self.threshold, THRESHOLD)
        if self.certainty is not None:
            check_number("certainty", self.certainty, CERTAINTY)


@dataclass(frozen=True)
class Engine:
    """What computes: the weights and where they run. One engine serves many cases."""

    weights: Weights
    run: Runner
    device: torch.device
    precision: torch.dtype
    threads: int
    operating_point: OperatingPoint
    windows: Windows

    @property
    def confidence(self) -> LesionConfidence | None:
        """What tells how sure it is that a lesion is one, where the weights come with it."""
        return LesionConfidence.of(self.weights.manifest)

    @classmethod
    def start(cls, settings: Settings, progress: Progress) -> "Engine":
        """Load the weights and choose the device. Raises `WeightsError` or `DeviceError`."""
        threads = use_threads(settings.threads)
        weights = load_weights(find_weights(settings.weights))
        device = choose_device(settings.device, progress.note)
        precision = choose_precision(settings.precision, device)
        run = network_runner(weights.network, device, precision)
        if settings.tta:
            run = mirrored(run)
        point = weights.operating_point.but_for(settings.threshold, settings.certainty)
        progress.note(f"network on {describe(device, precision, threads)}")
        return cls(weights, run, device, precision, threads, point, settings.windows)
