"""The learned lesion-wise loss: 1 - F(prediction, truth), F frozen (paper, equation 2)."""

from torch import Tensor

from train.metric_network.network import MetricNetwork
from train.segmentation.losses import check_shapes, mean_over_patches


class MetricLoss:
    """1 - F, the mean over the batch. Gradients pass through F to the prediction; F's own parameters get none."""

    def __init__(self, metric_network: MetricNetwork) -> None:
        """Freeze the network and put it in eval mode."""
        self.metric_network = metric_network
        self.freeze()

    def freeze(self) -> None:
        """Freeze again after F was fine-tuned."""
        self.metric_network.eval().requires_grad_(False)

    def __call__(self, probabilities: Tensor, truth: Tensor) -> Tensor:
        """Return the loss of probabilities and truth (batch, x, y, z), a scalar; not below 0 but for F's errors.

        Raises:
            ValueError: the shapes differ.
        """
        check_shapes(probabilities, truth)
        estimates = self.metric_network(probabilities, truth)
        return mean_over_patches([*(1 - estimates)], probabilities)
