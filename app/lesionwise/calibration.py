"""What is done to the network's probabilities: mirrored views averaged, temperature, and from lesions to their confidence.

Temperature scaling after Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lesionwise.inference import Runner

CERTAIN = 1e-4
"""Mean probabilities count no nearer to 0 and 1 than this for a lesion's confidence."""

LEFT_TO_RIGHT = 2
"""The axis of windows (N, 2, x, y, z) along which heads are mirrored, the only one along which they look alike."""


def mirrored(run: Runner) -> Runner:
    """Return a runner that averages what `run` finds in windows (N, 2, x, y, z) and in their mirror images: twice the time."""

    def both(windows: Tensor) -> Tensor:
        turned = run(windows.flip(LEFT_TO_RIGHT)).flip(LEFT_TO_RIGHT - 1)  # the result has no channels
        return (run(windows) + turned) / 2

    return both


def tempered(probability: NDArray[np.floating[Any]], temperature: float) -> NDArray[np.float32]:
    """Return probabilities whose logits are divided by a temperature above 0: more than 1 brings them nearer to 0.5.

    0 and 1 stay 0 and 1. The order stays, so that a threshold moved alike gives the same mask.
    """
    if temperature == 1:
        return probability.astype(np.float32, copy=False)
    for_it, against = (np.power(p, 1 / temperature, dtype=np.float64) for p in (probability, 1 - probability))
    return np.asarray(for_it / (for_it + against), dtype=np.float32)


@dataclass(frozen=True)
class LesionConfidence:
    """How sure it is that a lesion that was found is a true one, from its size and the network's probability.

    A logistic regression: `intercept + per_log_mm3 * log(volume) + per_logit * logit(mean probability)`, fitted by
    `train.calibrate` to lesions that the evaluator confirms or not on synthetic cases.
    """

    intercept: float
    per_log_mm3: float
    per_logit: float

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> "LesionConfidence | None":
        """Return what a manifest states under `lesion_confidence`; None where it states nothing that can be used."""
        match manifest.get("lesion_confidence"):
            case {
                "intercept": float() | int() as intercept,
                "per_log_mm3": float() | int() as per_log_mm3,
                "per_logit": float() | int() as per_logit,
            } if all(abs(number) < 1e6 for number in (intercept, per_log_mm3, per_logit)):  # nor NaN
                return cls(float(intercept), float(per_log_mm3), float(per_logit))
        return None

    def __call__(self, volume_mm3: float, mean_probability: float) -> float:
        """Return the probability in (0, 1) that the lesion is a true one."""
        size, logit = features(volume_mm3, mean_probability)
        score = self.intercept + self.per_log_mm3 * size + self.per_logit * logit
        return 1 / (1 + math.exp(-max(-50.0, min(50.0, score))))


def features(volume_mm3: float, mean_probability: float) -> tuple[float, float]:
    """Return what a lesion's confidence depends on: the logarithm of its mm3, the logit of its mean probability."""
    p = min(max(mean_probability, CERTAIN), 1 - CERTAIN)
    return math.log(volume_mm3), math.log(p / (1 - p))
