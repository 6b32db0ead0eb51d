"""Turn a trained metric network into files that can be passed on.

python -m train.metric_network.export RUN --facts FACTS.json --output weights/metric_network
"""

import json
from pathlib import Path

import click

from train.checkpoints import reading
from train.commandline import OneLineErrors
from train.metric_network.files import export_metric_network, held_out_of, load_metric_network


@click.command(cls=OneLineErrors)
@click.argument("metric_network", type=click.Path(exists=True, path_type=Path))
@click.option("--facts", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--output", required=True, type=click.Path(file_okay=False, path_type=Path))
def main(metric_network: Path, facts: Path, output: Path) -> None:
    """Write METRIC_NETWORK, a file or a run's folder, as tensors with a manifest that states the facts."""
    with reading(facts, "JSON object with facts", "write one, or edit an older manifest"):
        stated = dict(json.loads(facts.read_text()))
    network, step = load_metric_network(metric_network)
    manifest = export_metric_network(output, network, step, stated, held_out_of(metric_network))
    click.echo(f"{output}: sha256 {manifest['sha256']}, {step} steps")


if __name__ == "__main__":
    main()
