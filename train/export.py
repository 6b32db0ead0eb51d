"""Turn a run's checkpoint, or the mean of several, into the weights that the program loads.

    python -m train.export RUN/checkpoint.pt --facts FACTS.json --threshold 0.5 --output weights

The averaged parameters, grown to the published width where the run's network was narrower (train/growth.py: it computes the
same), are stored in float16, beside a manifest with the facts that a reader needs to judge them:
training data with licences, training command, commit. Of several runs the mean of the parameters is stored, as of "model
soups" (Wortsman et al., ICML 2022): of use where each went on from the one before, or all from one start.
FACTS.json holds the three facts; an older manifest will do, edited. Validation scores are not carried over:
`python -m train.validate --record` measures them and adds them. Where the folder has a model card, both commands bring its
facts up to date.
"""

import json
from functools import reduce
from pathlib import Path

import click
import torch

from lesionwise.allowed import CERTAINTY, THRESHOLD
from lesionwise.commands.options import number_in
from lesionwise.lesions import OperatingPoint
from lesionwise.network import GROUPS, UNet
from lesionwise.weights import save_weights
from train.checkpoints import reading
from train.commandline import WIDTH, OneLineErrors
from train.growth import grown
from train.held_out import HeldOut
from train.model_card import FACTS, check_facts, refresh
from train.segmentation.stages import held_out_of, load_network


def read_facts(file: Path) -> dict[str, object]:
    """Return the entries `FACTS` of a JSON file.

    Raises:
        InputError: it is no JSON, or they are not in the form that the model card needs.
    """
    with reading(file, "JSON object with facts", "write one, or edit an older manifest"):
        given = json.loads(file.read_text())
    check_facts(given, file)
    return {key: given[key] for key in FACTS}


@click.command(cls=OneLineErrors)
@click.argument("checkpoints", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--facts", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--threshold",
    default=0.5,
    show_default=True,
    type=number_in(THRESHOLD),
    help="Probability above which a voxel is lesion.",
)
@click.option(
    "--certainty",
    default=0.0,
    show_default=True,
    type=number_in(CERTAINTY),
    help="Probability that a lesion must exceed in the mean of its voxels' log odds; 0: none.",
)
@click.option(
    "--width", type=WIDTH, default=24, show_default=True, help="Channels of the network that is stored."
)
@click.option("--output", required=True, type=click.Path(file_okay=False, path_type=Path))
def main(
    checkpoints: tuple[Path, ...], facts: Path, threshold: float, certainty: float, width: int, output: Path
) -> None:
    """Write the averaged network of CHECKPOINTS, files or folders of runs, and its manifest; of several, their mean."""
    stated = read_facts(facts)
    network = UNet(width=width)
    states = [grown(load_network(checkpoint).state_dict(), network) for checkpoint in checkpoints]
    network.load_state_dict({name: torch.stack([s[name] for s in states]).mean(0) for name in states[0]})
    held_out = reduce(HeldOut.with_another, map(held_out_of, checkpoints))
    output.mkdir(parents=True, exist_ok=True)
    manifest = {**stated, **held_out.stated(), "validation": {}}
    save_weights(output, network, width, GROUPS, OperatingPoint(threshold, certainty), manifest)
    refresh(output)
    click.echo(
        f"{output}: {sum(p.numel() for p in network.parameters())} parameters; "
        "python -m train.validate --record adds their scores"
    )


if __name__ == "__main__":
    main()
