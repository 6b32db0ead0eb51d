"""Stage 1 from its options to the end: material, network, loop, report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from lesionwise.devices import choose_device, choose_precision
from lesionwise.errors import UsageError
from lesionwise.overlap import Mode
from train.held_out import HeldOut
from train.lesion_shapes import read_shapes
from train.loop import Averaged, Run, learning_rate
from train.metric_network.files import held_out_of, load_metric_network, save_metric_network
from train.metric_network.losses import metric_loss
from train.metric_network.mask_pairs import MaskPairs, PairSettings, make_pair_loader
from train.metric_network.network import Head, MetricNetwork
from train.metric_network.network_outputs import NetworkOutputs, left_for_training
from train.metric_network.network_outputs import held_out_of as outputs_held_out_of
from train.metric_network.real_masks import masks_of_folders, truths_of_patients
from train.metric_network.report import accuracy, measure, table, write_report
from train.metric_network.walkers import Walkers


def train(output: Path, seed: int, **options: Any) -> None:
    """Train, or go on training, until the budget is used up; write `metric_network.pt` and a report."""
    device = choose_device(options["device"], print)
    torch.manual_seed(seed)
    torch.set_num_threads(options["threads"])
    network = _new_network(**options)
    precision = choose_precision("auto", device)
    network.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # missing in torch's stubs
    settings = _pair_settings(**options)
    own_held_out = HeldOut.of(options["data"], options["fold"])
    if options["initial"] is not None:
        own_held_out = own_held_out.after(held_out_of(options["initial"]), options["initial"])
    for file in options["network_outputs"]:
        own_held_out = own_held_out.after(outputs_held_out_of(file), file)
    files = [
        NetworkOutputs.load(file, options["patch"], options["definition"])
        for file in options["network_outputs"]
    ]
    outputs = NetworkOutputs.joined(files) if files else None
    shapes, masks = read_shapes(options["shapes"]), masks_of_folders(options["masks"])
    truths = truths_of_patients(options["data"], options["fold"])

    def material(is_held_out: bool) -> dict[str, Any]:
        """Every fifth of what pairs are made of is left to the held-out ones; patients as in stage 2."""
        return {
            "real_boxes": left_for_training(shapes, is_held_out),
            "real_masks": [*left_for_training(masks, is_held_out), *truths[is_held_out]],
            "outputs": outputs.part(is_held_out) if outputs else None,
        }

    sources, held_out = material(is_held_out=False), material(is_held_out=True)
    output.mkdir(parents=True, exist_ok=True)
    optimizer = torch.optim.Adam(network.parameters(), lr=options["rate"], betas=(0.9, 0.999))
    run = Run(
        output,
        network,
        optimizer,
        Averaged(options["average"]),
        options["minutes"],
        options["steps"],
        more={"held_out": own_held_out},
    )
    if run.resume():
        click.echo(f"going on from step {run.step}")

    def averaged_network() -> MetricNetwork:
        copy = MetricNetwork(**network.settings)  # type: ignore[arg-type]
        copy.load_state_dict(run.averaged.parameters or network.state_dict())
        return copy.to(device)

    def on_epoch(_epoch: int) -> dict[str, float]:
        current = averaged_network()
        save_metric_network(output, current, current.state_dict(), run.step, own_held_out)
        values: dict[str, float] = {}
        for name, pairs in measure(current, settings, options["held_out"], seed, **held_out).items():
            result, kind = accuracy(*pairs), name.split()[0]
            values |= {f"held_out_{kind}/mae": result.mae, f"held_out_{kind}/pearson": result.pearson}
            values[f"held_out_{kind}/worst_bin_mae"] = max(result.bin_mae)
        return values

    stream = MaskPairs(settings, seed, **sources, batches_done=run.step)
    walkers = Walkers(
        network, options["walkers"], options["definition"], precision, np.random.default_rng((seed, run.step))
    )
    run.train(
        make_pair_loader(stream, options["workers"]),
        lambda batch: metric_loss(
            network, walkers.join(batch), precision, options["gradient_weight"], options["counts_weight"]
        ),
        lambda progress: learning_rate(options["rate"], options["schedule"], progress, run.step),
        epoch_steps=options["epoch_steps"],
        on_epoch=on_epoch,
    )
    final = averaged_network()
    save_metric_network(output, final, final.state_dict(), run.step, own_held_out)
    results = measure(final, settings, options["report_pairs"], seed + 1, **held_out)
    title = f"Metric network, {options['head']} head, {run.step} steps, patches of {options['patch']}"
    click.echo(table(write_report(results, output / "report", title)))


def _new_network(
    head: Head,
    patch: int,
    width: int | None,
    dropout: float,
    definition: Mode,
    initial: Path | None,
    **_others: Any,
) -> MetricNetwork:
    """Return the network to train: a new one, or with the parameters of another."""
    try:
        network = MetricNetwork(head, patch, width, dropout, definition)
    except ValueError as error:
        raise UsageError(f"{error}; change --head, --patch or --width") from error
    if initial is not None:
        given = load_metric_network(initial)[0]
        try:
            network.load_state_dict(given.state_dict())
        except RuntimeError as error:
            raise UsageError(
                f"{initial}: a metric network with {given.settings} cannot start one with {network.settings}"
            ) from error
    return network


def _pair_settings(
    patch: int,
    batch: int,
    hard_share: float,
    network_share: float,
    network_outputs: Sequence[Path],
    definition: Mode,
    uses: int,
    **_others: Any,
) -> PairSettings:
    """Return what the mask pairs are made of."""
    share = network_share if network_outputs else 0.0
    try:
        return PairSettings(patch, batch, hard_share, share, definition, uses)
    except ValueError as error:
        raise UsageError(f"{error}; raise --patch") from error
