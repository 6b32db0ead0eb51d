"""How well a metric network estimates F1 on held-out pairs: a table in ten bins and a calibration plot.

python -m train.metric_network.report RUN --output RUN/report
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from lesionwise.errors import UsageError
from train.commandline import COUNT, PATCH, WHOLE, OneLineErrors
from train.lesion_shapes import read_shapes
from train.metric_network.files import load_metric_network
from train.metric_network.mask_pairs import SMALLEST_PATCH, MaskPairs, PairBatch, PairSettings
from train.metric_network.network import MetricNetwork
from train.metric_network.network_outputs import NetworkOutputs, left_for_training
from train.metric_network.targets import BINS, bin_of
from train.sources import EXISTING

HELD_OUT_SEED = 10_000_019
"""Added to a run's seed for pairs that no training sees."""

Values = NDArray[np.floating[Any]]

patch_option = click.option("--patch", type=PATCH, help="Edge of a patch in voxels [default: as trained].")
held_out_shapes_option = click.option(
    "--shapes", multiple=True, type=EXISTING, help="Real shapes; the held-out ones are used."
)


@dataclass(frozen=True)
class Accuracy:
    """Errors of estimates against the true F1. `bin_mae` and `bin_count` are in ten bins of the true F1 (nan if empty)."""

    mae: float
    rmse: float
    pearson: float
    spearman: float
    bin_mae: tuple[float, ...]
    bin_count: tuple[int, ...]


def accuracy(estimates: Values, f1: Values) -> Accuracy:
    """Compare estimates (n) with the true F1 (n)."""
    error = np.abs(estimates - f1)
    members = [bin_of(f1) == number for number in range(BINS)]
    return Accuracy(
        mae=float(error.mean()),
        rmse=float(np.sqrt((error**2).mean())),
        pearson=correlation(estimates, f1),
        spearman=correlation(stats.rankdata(estimates), stats.rankdata(f1)),
        bin_mae=tuple(float(error[m].mean()) if m.any() else float("nan") for m in members),
        bin_count=tuple(int(m.sum()) for m in members),
    )


def correlation(first: Values, second: Values) -> float:
    """Return Pearson's correlation; 0 where one side is constant, so that a dead network shows as one."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def held_out_batches(stream: MaskPairs, count: int) -> Iterator[PairBatch]:
    """Return the first batches of a stream that hold `count` pairs; whole groups keep the balance."""
    group = stream.settings.batch * BINS
    batches = BINS * max(1, round(count / group))
    for _, batch in zip(range(batches), stream, strict=False):
        yield batch


@torch.inference_mode()
def estimated(network: MetricNetwork, batches: Iterator[PairBatch]) -> tuple[Values, Values]:
    """Return the network's estimates, in eval mode, and the true F1 of all pairs."""
    was_training = network.training
    network.eval()
    device = next(network.parameters()).device
    parts = [(network(p.to(device), t.to(device)).cpu(), f1) for p, t, f1, _ in batches]
    network.train(was_training)
    return tuple(torch.cat(column).numpy() for column in zip(*parts, strict=True))  # type: ignore[return-value]


def measure(
    network: MetricNetwork, stream_settings: PairSettings, count: int, seed: int, **sources: Any
) -> dict[str, tuple[Values, Values]]:
    """Return estimates and true F1 of the same held-out pairs as hard masks and as soft maps.

    `sources`: real_boxes, real_masks, outputs, as for `MaskPairs`. A network's own outputs count among the soft maps and
    are left out of the hard ones.
    """
    hard = replace(stream_settings, hard_share=1.0, network_share=0.0, uses=1)
    soft = replace(stream_settings, hard_share=0.0, uses=1)
    return {
        name: estimated(
            network, held_out_batches(MaskPairs(settings, seed + HELD_OUT_SEED, **sources), count)
        )
        for name, settings in (("hard masks", hard), ("soft maps", soft))
    }


def patch_edge(network: MetricNetwork, asked: int | None) -> int:
    """Return the edge of the patches to measure a network on: as asked, by default as it was trained.

    Raises:
        UsageError: the published head takes no others than those, or they are too small for a balanced F1.
    """
    trained = int(network.settings["patch"])
    if network.settings["head"] == "published" and asked not in (None, trained):
        raise UsageError(f"--patch {asked}: this network's published head takes patches of {trained} only")
    if (edge := asked or trained) < SMALLEST_PATCH:
        raise UsageError(
            f"--patch {edge}: F1 cannot be balanced in patches below {SMALLEST_PATCH}; take larger ones"
        )
    return edge


def table(results: dict[str, Accuracy]) -> str:
    """Return the accuracies as a Markdown table, a column each."""
    rows = [["pairs", *(str(sum(a.bin_count)) for a in results.values())]]
    rows += [
        [label, *(f"{getattr(a, name):.4f}" for a in results.values())]
        for label, name in (
            ("MAE", "mae"),
            ("RMSE", "rmse"),
            ("Pearson", "pearson"),
            ("Spearman", "spearman"),
        )
    ]
    for number in range(BINS):
        label = f"MAE, F1 {number / BINS:.1f} to {(number + 1) / BINS:.1f}"
        rows.append([label, *(f"{a.bin_mae[number]:.4f} ({a.bin_count[number]})" for a in results.values())])
    lines = ["| | " + " | ".join(results) + " |", "|---" * (len(results) + 1) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def plot(results: dict[str, tuple[Values, Values]], file: Path) -> None:
    """Write a calibration plot (PNG): estimates over the true F1, their mean and spread in each bin."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(results), 4.6), layout="constrained")
    for axes, (name, (estimates, f1)) in zip(
        figure.subplots(1, len(results), squeeze=False)[0], results.items(), strict=True
    ):
        axes.plot([0, 1], [0, 1], color="0.6", linewidth=1)
        axes.scatter(f1, estimates, s=4, alpha=0.25, linewidths=0, label="pairs")
        members = [estimates[bin_of(f1) == number] for number in range(BINS)]
        filled = [number for number in range(BINS) if len(members[number])]
        axes.errorbar(
            [float(f1[bin_of(f1) == n].mean()) for n in filled],
            [float(members[n].mean()) for n in filled],
            [float(members[n].std()) for n in filled],
            color="black",
            marker="o",
            markersize=3,
            capsize=2,
            label="mean and standard deviation of a bin",
        )
        axes.set(title=name, xlabel="true lesion-wise F1", ylabel="estimate", xlim=(-0.05, 1.05))
        axes.set_ylim(-0.15, 1.15)
        axes.legend(loc="upper left", fontsize="small")
    figure.savefig(file, dpi=120)


def write_report(results: dict[str, tuple[Values, Values]], folder: Path, title: str) -> dict[str, Accuracy]:
    """Write `report.md` and `calibration.png` to a folder and return the accuracies."""
    folder.mkdir(parents=True, exist_ok=True)
    accuracies = {name: accuracy(*values) for name, values in results.items()}
    (folder / "report.md").write_text(f"# {title}\n\n{table(accuracies)}\n![calibration](calibration.png)\n")
    plot(results, folder / "calibration.png")
    return accuracies


@click.command(cls=OneLineErrors)
@click.argument("metric_network", type=click.Path(exists=True, path_type=Path))
@click.option("--output", required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--pairs", default=1000, show_default=True, type=COUNT, help="Held-out pairs, rounded to whole groups."
)
@patch_option
@held_out_shapes_option
@click.option(
    "--network-outputs", type=click.Path(exists=True, path_type=Path), help="The held-out ones are mixed in."
)
@click.option("--seed", default=1, show_default=True, type=WHOLE)
def main(
    metric_network: Path,
    output: Path,
    pairs: int,
    patch: int | None,
    shapes: Sequence[Path],
    network_outputs: Path | None,
    seed: int,
) -> None:
    """Measure METRIC_NETWORK, a file or a run's folder, on held-out pairs."""
    network, step = load_metric_network(metric_network)
    size = patch_edge(network, patch)
    outputs = None
    if network_outputs:
        outputs = NetworkOutputs.load(network_outputs, size, network.definition).part(is_held_out=True)
    boxes = left_for_training(read_shapes(shapes), is_held_out=True)
    settings = PairSettings(size=size, definition=network.definition)
    results = measure(network, settings, pairs, seed, real_boxes=boxes, outputs=outputs)
    title = f"Metric network, {network.settings['head']} head, {step} steps, patches of {size}"
    click.echo(table(write_report(results, output, title)))


if __name__ == "__main__":
    main()
