"""What happens at the end of each epoch of stage 2: validation, the best network and stages kept, F refreshed."""

from lesionwise.network import UNet
from train import distributed
from train.loop import Run
from train.metric_network.mask_pairs import MaskPairs, PairSettings
from train.metric_network.network import MetricNetwork
from train.metric_network.report import HELD_OUT_SEED, accuracy, estimated, held_out_batches
from train.patches import PatchSettings
from train.segmentation.best import Best
from train.segmentation.metric_loss import MetricLoss
from train.segmentation.options import Options
from train.segmentation.refresh import Refresh
from train.segmentation.stages import is_stage, save_stage
from train.segmentation.validation import Validation
from train.sources import Sources

WORST_ERROR = 0.15
"""A metric network with a larger mean error on balanced pairs teaches little: 0.25 is what a constant 0.5 gets."""


class Epochs:
    """What happens at the end of an epoch in process 0: validation and stages; in all: refreshing F."""

    def __init__(
        self,
        options: Options,
        sources: Sources,
        settings: PatchSettings,
        network: UNet,
        learned: MetricLoss | None,
        run: Run,
        best: Best,
    ) -> None:
        self.options, self.sources, self.settings = options, sources, settings
        self.network, self.learned, self.run, self.best = network, learned, run, best
        self.refresh = Refresh(
            options.refresh_metric,
            options.refresh_patches,
            options.refresh_steps,
            definition=options.definition,
        )
        self.validation: Validation | None = None
        if options.validation_patches and not distributed.rank():
            images, truths = sources.held_out(settings, options.validation_patches, options.seed)
            self.validation = Validation(images, truths, options.definition)

    def __call__(self, epoch: int) -> dict[str, float]:
        """Return what is logged."""
        metric_network = self.learned.metric_network if self.learned else None
        values: dict[str, float] = {}
        if epoch == 0 and metric_network is not None and not distributed.rank():
            values |= check_metric_network(metric_network, self.settings.size, self.options)
        if self.validation is not None:
            with self.run.averaged.lent_to(self.network):  # what is exported in the end
                values |= self.validation.measure(self.network, metric_network)
                self.best.offer(self.network, values["validation/f1"], self.run.step)
            values["validation/best_f1"] = self.best.f1
        if self.options.save_stages and is_stage(epoch) and not distributed.rank():
            save_stage(self.options.output, self.network, epoch, self.best.held_out)
        if (
            self.learned
            and self.options.refresh_metric
            and epoch
            and epoch % self.options.refresh_metric == 0
        ):
            # Validation came first: its gap is that of the F that this epoch was trained with.
            values |= self.refresh.run(
                self.learned, self.network, self.sources, self.settings, self.options.seed, epoch
            )
        return values


def check_metric_network(network: MetricNetwork, size: int, options: Options) -> dict[str, float]:
    """Measure F on a hundred balanced pairs for the log, and print a warning where it knows nothing or cannot matter."""
    pairs = MaskPairs(PairSettings(size, 10, definition=options.definition), options.seed + HELD_OUT_SEED)
    result = accuracy(*estimated(network, held_out_batches(pairs, 100)))
    if result.mae > WORST_ERROR:
        print(
            f"warning: the metric network's mean error is {result.mae:.3f} (a constant 0.5 has 0.25): is it trained?"
        )
    if options.alpha == 0:
        print("warning: alpha is 0, so that the metric network has no effect")
    return {"metric_network/mae": result.mae, "metric_network/pearson": result.pearson}
