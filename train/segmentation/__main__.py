"""Train the segmentation network: python -m train.segmentation --help."""

from typing import Any

from lesionwise.errors import UsageError
from train.commandline import training_command
from train.segmentation.options import Options, segmentation_options
from train.segmentation.training import train


@training_command("segmentation")
@segmentation_options()
def main(**options: Any) -> None:
    """Train the segmentation network on synthetic time points, or on patients with --data.

    Under torchrun, processes share each batch: torchrun --nproc-per-node 2 -m train.segmentation ...
    """
    chosen = Options(**options)
    refuse_what_has_no_effect(chosen)
    train(chosen)


def refuse_what_has_no_effect(options: Options) -> None:
    """Raise UsageError for an option that would change nothing: who gives it expects that it does."""
    learned = options.lesion_loss == "metric-network"
    for flag, is_given, has_effect, needs in (
        ("--metric-network", options.metric_network is not None, learned, "--lesion-loss metric-network"),
        ("--refresh-metric", options.refresh_metric > 0, learned, "--lesion-loss metric-network"),
        ("--balance-gradients", options.balance_gradients, options.lesion_loss != "none", "a --lesion-loss"),
        ("--synthetic-share", options.synthetic_share > 0, options.data is not None, "--data"),
        ("--fold", options.fold > 0, options.data is not None, "--data"),
    ):
        if is_given and not has_effect:
            raise UsageError(f"{flag} has no effect here; add {needs}, or leave it out")


if __name__ == "__main__":
    main()
