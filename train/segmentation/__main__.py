"""Train the segmentation network: python -m train.segmentation --help."""

from typing import Any

from train.commandline import training_command
from train.segmentation.options import Options, segmentation_options
from train.segmentation.training import train


@training_command("segmentation")
@segmentation_options
def main(**options: Any) -> None:
    """Train the segmentation network on synthetic time points, or on patients with --data.

    Under torchrun, processes share each batch: torchrun --nproc-per-node 2 -m train.segmentation ...
    """
    train(Options(**options))


if __name__ == "__main__":
    main()
