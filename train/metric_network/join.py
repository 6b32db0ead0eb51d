"""Join compact metric networks that were trained apart into one: its estimate is the mean of theirs.

python -m train.metric_network.join RUN RUN RUN --output RUN
"""

from collections.abc import Sequence
from pathlib import Path

import click

from lesionwise.errors import UsageError
from train.commandline import training_command
from train.metric_network.files import load_metric_network, save_metric_network
from train.metric_network.network import MetricNetwork
from train.sources import EXISTING, FOLDER


def joined(networks: Sequence[MetricNetwork]) -> MetricNetwork:
    """Return one network with the members of all; the patch it names is the first one's.

    Raises:
        UsageError: one has the published head, or their widths or definitions of F1 differ.
    """
    first = networks[0].settings
    for settings in (network.settings for network in networks):
        if settings["head"] != "compact" or any(settings[k] != first[k] for k in ("width", "definition")):
            raise UsageError(
                "only metric networks with compact heads of one width and one definition of F1 can be joined"
            )
    members = [member for network in networks for member in network.members]
    result = MetricNetwork(**{**first, "members": len(members)})  # type: ignore[arg-type]
    for own, given in zip(result.members, members, strict=True):
        own.load_state_dict(given.state_dict())
    return result


@training_command("metric-network-join")
@click.argument("metric_networks", nargs=-1, required=True, type=EXISTING)
@click.option("--output", required=True, type=FOLDER)
def main(metric_networks: tuple[Path, ...], output: Path) -> None:
    """Join METRIC_NETWORKS, files or folders of runs, into the one in the folder of `--output`."""
    loaded = [load_metric_network(path) for path in metric_networks]
    network = joined([network for network, _ in loaded])
    output.mkdir(parents=True, exist_ok=True)
    save_metric_network(output, network, network.state_dict(), sum(step for _, step in loaded))
    click.echo(f"{output}: {network.settings['members']} members")


if __name__ == "__main__":
    main()
