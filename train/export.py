"""Turn a run's checkpoint into the weights that the program loads.

    python -m train.export RUN/checkpoint.pt --facts FACTS.json --threshold 0.5 --output weights

The averaged parameters, grown to the published width where the run's network was narrower (train/growth.py: it computes the
same), are stored in float16, beside a manifest with the facts that a reader needs to judge them:
training data with licences, training command, commit. FACTS.json holds these three; an older manifest will do, edited.
Validation scores are not carried over: `python -m train.validate --record` measures them and adds them. Where the
folder has a model card, both commands bring its facts up to date.
"""

import json
from pathlib import Path

import click

from lesionwise.allowed import CERTAINTY, THRESHOLD
from lesionwise.commands.options import number_in
from lesionwise.lesions import OperatingPoint
from lesionwise.network import GROUPS, UNet
from lesionwise.weights import save_weights
from train.checkpoints import reading
from train.commandline import WIDTH, OneLineErrors
from train.growth import grown
from train.model_card import check_facts, refresh
from train.segmentation.stages import held_out_of, load_network

FACTS = ("training_data", "training", "commit")


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
@click.argument("checkpoint", type=click.Path(exists=True, path_type=Path))
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
def main(checkpoint: Path, facts: Path, threshold: float, certainty: float, width: int, output: Path) -> None:
    """Write the averaged network of CHECKPOINT, a file or the folder of a run, and its manifest."""
    stated = read_facts(facts)
    trained = load_network(checkpoint)
    network = UNet(width=width)
    network.load_state_dict(grown(trained.state_dict(), network))
    output.mkdir(parents=True, exist_ok=True)
    manifest = {**stated, **held_out_of(checkpoint).stated(), "validation": {}}
    save_weights(output, network, width, GROUPS, OperatingPoint(threshold, certainty), manifest)
    refresh(output)
    click.echo(
        f"{output}: {sum(p.numel() for p in network.parameters())} parameters; "
        "python -m train.validate --record adds their scores"
    )


if __name__ == "__main__":
    main()
