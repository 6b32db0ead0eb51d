"""What a run measures after each epoch on held-out patches: the true F1, F's estimate of it, and the gap between."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lesionwise.overlap import Mode
from train.metric_network.network import MetricNetwork
from train.metric_network.report import correlation
from train.metric_network.targets import patch_f1


@dataclass(frozen=True)
class Validation:
    """Held-out patches: images (n, 2, x, y, z) and truths (n, x, y, z)."""

    images: Tensor
    truths: Tensor
    definition: Mode = "organisers"

    def measure(self, network: nn.Module, metric_network: MetricNetwork | None = None) -> dict[str, float]:
        """Return the means over the patches, for the log.

        f1: the true lesion-wise F1 at the threshold 0.5. dice: of all voxels. lesion_voxels: how many are predicted for each
        true one. With F: estimate, its mean for the probability maps; gap, the mean of estimate minus true F1 (F is
        fooled where it grows); gap_size, the mean of its absolute value; estimate_correlation, Pearson's over patches.
        """
        probabilities = predict(network, self.images)
        predictions = probabilities > 0.5
        true = self.truths > 0.5
        f1 = np.array(
            [patch_f1(p, t, self.definition) for p, t in zip(predictions.numpy(), true.numpy(), strict=True)]
        )
        overlap = float((predictions & true).sum())
        voxels = float(predictions.sum()), float(true.sum())
        values = {
            "f1": float(f1.mean()),
            "dice": 2 * overlap / max(1.0, sum(voxels)),
            "lesion_voxels": voxels[0] / max(1.0, voxels[1]),
        }
        if metric_network is not None:
            estimates = estimate(metric_network, probabilities, self.truths)
            values |= {
                "estimate": float(estimates.mean()),
                "gap": float((estimates - f1).mean()),
                "gap_size": float(np.abs(estimates - f1).mean()),
                "estimate_correlation": correlation(estimates, f1),
            }
        return {f"validation/{name}": value for name, value in values.items()}


@torch.inference_mode()
def predict(network: nn.Module, images: Tensor) -> Tensor:
    """Return the probabilities (n, x, y, z) of images (n, 2, x, y, z), on the CPU, in eval mode, one by one."""
    was_training, device = network.training, next(network.parameters()).device
    network.eval()
    parts = [network(image[None].to(device)).float().softmax(1)[:, 1].cpu() for image in images]
    network.train(was_training)
    return torch.cat(parts)


@torch.inference_mode()
def estimate(metric_network: MetricNetwork, probabilities: Tensor, truths: Tensor) -> np.ndarray:
    """Return F's estimates (n), in eval mode, one by one."""
    was_training, device = metric_network.training, next(metric_network.parameters()).device
    metric_network.eval()
    parts = [
        metric_network(p[None].to(device), t[None].to(device)).cpu()
        for p, t in zip(probabilities, truths, strict=True)
    ]
    metric_network.train(was_training)
    return np.asarray(torch.cat(parts).numpy())
