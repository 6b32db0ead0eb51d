"""Train the segmentation network: python -m train.segmentation --help."""

from typing import Any

from train.commandline import refuse_what_has_no_effect, training_command
from train.segmentation.options import Options, segmentation_options
from train.segmentation.training import train
from train.sources import needs_of_sources


@training_command("segmentation")
@segmentation_options()
def main(**options: Any) -> None:
    """Train the segmentation network on synthetic time points, or on patients with --data.

    Under torchrun, processes share each batch: torchrun --nproc-per-node 2 -m train.segmentation ...
    """
    chosen = Options(**options)
    learned = chosen.lesion_loss == "metric-network"
    refuse_what_has_no_effect(
        ("--metric-network", learned, "--lesion-loss metric-network"),
        ("--refresh-metric", learned, "--lesion-loss metric-network"),
        ("--refresh-patches", bool(chosen.refresh_metric), "--refresh-metric"),
        ("--refresh-steps", bool(chosen.refresh_metric), "--refresh-metric"),
        ("--alpha", chosen.lesion_loss != "none", "a --lesion-loss"),
        ("--balance-gradients", chosen.lesion_loss != "none", "a --lesion-loss"),
        *needs_of_sources(chosen.data),
    )
    train(chosen)


if __name__ == "__main__":
    main()
