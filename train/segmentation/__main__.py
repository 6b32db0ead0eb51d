"""Train the segmentation network: python -m train.segmentation --help."""

from typing import Any

from lesionwise.errors import UsageError
from train.commandline import training_command
from train.segmentation.options import Options, segmentation_options
from train.segmentation.training import train


@training_command("segmentation")
@segmentation_options
def main(**options: Any) -> None:
    """Train the segmentation network on synthetic time points, or on patients with --data.

    Under torchrun, processes share each batch: torchrun --nproc-per-node 2 -m train.segmentation ...
    """
    chosen = Options(**options)
    if chosen.metric_network is not None and chosen.lesion_loss != "metric-network":
        raise UsageError(
            f"--metric-network has no effect on --lesion-loss {chosen.lesion_loss}; "
            "add --lesion-loss metric-network, or leave it out"
        )
    train(chosen)


if __name__ == "__main__":
    main()
