"""Fine-tuning F on the current network's outputs: a frozen F is fooled by outputs that it never saw."""

from dataclasses import dataclass

from torch import nn

from lesionwise.overlap import Mode
from train import distributed
from train.metric_network.losses import fine_tune
from train.metric_network.mask_pairs import MaskPairs, PairSettings
from train.metric_network.network_outputs import NetworkOutputs, left_for_training
from train.patches import PatchSettings
from train.segmentation.metric_loss import MetricLoss
from train.segmentation.validation import predict
from train.sources import EPOCH_SEED, Sources

NETWORK_SHARE = 0.6
"""Of the pairs, as far as there are outputs of the wanted F1; the rest is simulated, so that F forgets nothing."""


@dataclass(frozen=True)
class Refresh:
    """How F is fine-tuned.

    Attributes:
        every: epochs between two refreshings.
        patches: patches whose outputs F sees each time, fresh ones.
        steps: optimiser steps, each of `batch` pairs.
        rate: learning rate of Adam.
        gradient_weight: of the term that keeps F's gradient pointing to the errors; the squared error alone would spoil it.
    """

    every: int
    patches: int = 48
    steps: int = 100
    batch: int = 4
    rate: float = 1e-4
    gradient_weight: float = 0.05
    definition: Mode = "organisers"

    def run(
        self,
        loss: MetricLoss,
        network: nn.Module,
        sources: Sources,
        settings: PatchSettings,
        seed: int,
        epoch: int,
    ) -> dict[str, float]:
        """Fine-tune F, freeze it again, and return what is logged. A pure function of seed, epoch and the networks."""
        metric_network = loss.metric_network
        error = 0.0
        if distributed.rank() == 0:
            images, truths = sources.patches(settings, self.patches, seed + EPOCH_SEED + epoch)
            outputs = NetworkOutputs.of(
                predict(network, images).numpy(), truths.numpy() > 0.5, self.definition
            )
            pairs = MaskPairs(
                PairSettings(
                    settings.size, self.batch, network_share=NETWORK_SHARE, definition=self.definition
                ),
                seed + EPOCH_SEED + epoch,
                real_boxes=left_for_training(sources.shapes, is_held_out=False),
                outputs=outputs,
            )
            error = fine_tune(metric_network, pairs, self.steps, self.rate, self.gradient_weight)
        distributed.share_parameters(metric_network)
        loss.freeze()
        return {"refresh/absolute_error": error}
