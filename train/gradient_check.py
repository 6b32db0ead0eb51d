"""Does following F's gradient raise the true lesion-wise F1? The check that a learned loss has to pass.

    python -m train.gradient_check METRIC_NETWORK --output runs/gradient_check

Held-out patches with a missed, merged or false lesion; the logits of the prediction are the variables. At each of at most
STEPS steps they move along the gradient, scaled so that the voxel with the largest one moves by STEP_LOGIT. Beside F: the
gradient of Dice, and of the total loss (Dice + alpha F). What counts is the true F1 at the threshold 0.5 after the last step.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import click
import numpy as np
import torch
from torch import Tensor

from lesionwise.errors import UsageError
from lesionwise.overlap import Mode
from train.commandline import COUNT, WHOLE, OneLineErrors
from train.lesion_shapes import read_shapes
from train.metric_network.corruptions import Shapes, random_boxes, random_truth
from train.metric_network.files import load_metric_network
from train.metric_network.network import MetricNetwork
from train.metric_network.network_outputs import NetworkOutputs, left_for_training
from train.metric_network.placed_lesions import Mask, Placed, bridge, lesions_of, nearest, paint
from train.metric_network.report import HELD_OUT_SEED, held_out_shapes_option, patch_edge, patch_option
from train.metric_network.softening import draw_softening, soften
from train.metric_network.targets import patch_f1
from train.metric_network.walkers import start_logits
from train.segmentation.losses import dice_loss
from train.segmentation.metric_loss import MetricLoss

STEPS = 50
STEP_LOGIT = 0.5
REACHED = 0.01
"""F's ascent stops where 1 - F is below this: there is nothing left to gain by its own account."""
BAR = 0.70

Error = Literal["missed", "merged", "false"]
ERRORS: tuple[Error, ...] = ("missed", "merged", "false")
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Patch:
    """A prediction with an error: probabilities (x, y, z), truth (x, y, z), and which error it is."""

    probabilities: np.ndarray
    truth: np.ndarray
    error: str


@dataclass(frozen=True)
class Outcome:
    """What following a gradient did to a patch: true F1 and the loss before and after, steps taken."""

    error: str
    f1_before: float
    f1_after: float
    loss_before: float
    loss_after: float
    steps: int


def patches_with_errors(
    count: int, size: int, shapes: Shapes, seed: int, definition: Mode = "organisers"
) -> list[Patch]:
    """Return patches with one error each, the three kinds in turn; all other lesions are predicted exactly."""
    rng = np.random.default_rng(seed)
    patches: list[Patch] = []
    while len(patches) < count:
        error = ERRORS[len(patches) % len(ERRORS)]
        lesions = random_truth(shapes, size, 0.5, rng)
        truth = paint(lesions, size)
        prediction = _with_error(lesions, shapes, size, error, rng)
        if prediction is None or patch_f1(prediction, truth, definition) == 1:
            continue
        if error == "merged" and len(lesions_of(prediction)) >= len(lesions_of(truth)):
            continue  # the bar leaves the patch before it reaches another lesion
        missed = truth & ~prediction
        patches.append(Patch(soften(prediction, missed, draw_softening(rng)), truth, error))
    return patches


def patches_from_network(outputs: NetworkOutputs, count: int, seed: int) -> list[Patch]:
    """Return a network's own outputs that have an error, at most `count`, drawn from all stages of its training."""
    wrong = np.flatnonzero((outputs.f1[:, 2] < 1) & outputs.truths.any(axis=(1, 2, 3)))
    wrong = np.random.default_rng(seed).permutation(wrong)[:count]
    return [Patch(*outputs.pair(int(k), 2)[:2], "network") for k in wrong]


def held_out_patches(
    count: int,
    size: int,
    real: Sequence[Mask],
    outputs: NetworkOutputs | None,
    seed: int,
    definition: Mode = "organisers",
) -> list[Patch]:
    """Return patches of the held-out outputs, if there are outputs, or else of simulated and held-out `real` shapes."""
    if outputs is not None:
        return patches_from_network(outputs.part(is_held_out=True), count, seed)
    seed += HELD_OUT_SEED
    boxes = random_boxes(np.random.default_rng(seed), 200, left_for_training(real, is_held_out=True))
    return patches_with_errors(count, size, Shapes(boxes), seed, definition)


def follow(loss: Loss, patch: Patch, reached: float = REACHED, definition: Mode = "organisers") -> Outcome:
    """Descend the loss on the logits of a patch and return what it did."""
    probabilities, before, after, taken = ascended(loss, patch, STEPS, reached)
    f1 = [patch_f1(p > 0.5, patch.truth, definition) for p in (patch.probabilities, probabilities)]
    return Outcome(patch.error, f1[0], f1[1], before, after, taken)


def ascended(
    loss: Loss, patch: Patch, most_steps: int, reached: float = REACHED
) -> tuple[np.ndarray, float, float, int]:
    """Return the probabilities (x, y, z) where the descent ends, the loss before and after, and the steps taken."""
    truth = torch.from_numpy(patch.truth.astype(np.float32))[None]
    logits = start_logits(torch.from_numpy(patch.probabilities.astype(np.float32)))[None]
    before = after = float("nan")
    taken = 0
    for step in range(most_steps + 1):
        logits.requires_grad_(True)
        value = loss(logits.sigmoid(), truth)
        after = float(value.detach())
        before = after if step == 0 else before
        if step == most_steps or after < reached:
            break
        (gradient,) = torch.autograd.grad(value, logits)
        logits = logits.detach()
        largest = gradient.abs().max()
        if largest == 0:
            break
        logits = logits - STEP_LOGIT * gradient / largest
        taken = step + 1
    return logits.detach().sigmoid()[0].numpy(), before, after, taken


def losses(network: MetricNetwork, alpha: float) -> dict[str, Loss]:
    """Return the three losses by name."""
    metric = MetricLoss(network)
    return {
        "F": metric,
        "Dice": dice_loss,
        f"Dice + {alpha:g} F": lambda p, t: dice_loss(p, t) + alpha * metric(p, t),
    }


def table(outcomes: dict[str, list[Outcome]]) -> str:
    """Return shares of patches as a Markdown table: F1 raised, lowered; the loss lowered while F1 did not rise."""
    lines = [
        "| gradient of | patches | F1 before | F1 after | F1 rises | F1 falls | loss falls, F1 does not rise |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, all_of_it in outcomes.items():
        kinds = sorted({outcome.error for outcome in all_of_it})
        groups = {name: all_of_it} | {f"{name}, {k}": [o for o in all_of_it if o.error == k] for k in kinds}
        for label, group in groups.items():
            raised = np.mean([o.f1_after > o.f1_before for o in group])
            lowered = np.mean([o.f1_after < o.f1_before for o in group])
            fooled = np.mean([o.loss_after < o.loss_before and o.f1_after <= o.f1_before for o in group])
            means = np.mean([o.f1_before for o in group]), np.mean([o.f1_after for o in group])
            lines.append(
                f"| {label} | {len(group)} | {means[0]:.3f} | {means[1]:.3f} "
                f"| {raised:.1%} | {lowered:.1%} | {fooled:.1%} |"
            )
    return "\n".join(lines) + "\n"


def _with_error(
    lesions: Sequence[Placed], shapes: Shapes, size: int, error: Error, rng: np.random.Generator
) -> np.ndarray | None:
    """Return the truth's mask with one error, or None where these lesions do not allow it."""
    if not lesions or (error == "merged" and len(lesions) < 2):
        return None
    chosen = int(rng.integers(len(lesions)))
    others = [lesion for number, lesion in enumerate(lesions) if number != chosen]
    if error == "missed":
        return paint(others, size)
    added = (
        shapes.draw(rng, size)
        if error == "false"
        else bridge(lesions[chosen], nearest(lesions[chosen], others))
    )
    return paint([*lesions, added], size)


@click.command(cls=OneLineErrors)
@click.argument("metric_network", type=click.Path(exists=True, path_type=Path))
@click.option("--output", required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option("--patches", default=200, show_default=True, type=COUNT)
@patch_option
@click.option("--alpha", default=0.2, show_default=True)
@held_out_shapes_option
@click.option(
    "--network-outputs",
    type=click.Path(exists=True, path_type=Path),
    help="Use these instead, the held-out ones.",
)
@click.option("--seed", default=1, show_default=True, type=WHOLE)
def main(
    metric_network: Path,
    output: Path,
    patches: int,
    patch: int | None,
    alpha: float,
    shapes: Sequence[Path],
    network_outputs: Path | None,
    seed: int,
) -> None:
    """Check METRIC_NETWORK, a file or a run's folder; write the outcomes and a table."""
    if shapes and network_outputs:
        raise UsageError("--shapes has no effect beside --network-outputs; leave one of them out")
    network, _ = load_metric_network(metric_network)
    size = patch_edge(network, patch)
    outputs = NetworkOutputs.load(network_outputs, size, network.definition) if network_outputs else None
    chosen = held_out_patches(patches, size, read_shapes(shapes), outputs, seed, network.definition)
    outcomes = {
        name: [follow(loss, patch, definition=network.definition) for patch in chosen]
        for name, loss in losses(network, alpha).items()
    }
    output.mkdir(parents=True, exist_ok=True)
    rows = {name: [asdict(outcome) for outcome in group] for name, group in outcomes.items()}
    (output / "outcomes.json").write_text(json.dumps(rows, indent=1) + "\n")
    text = table(outcomes)
    (output / "gradient_check.md").write_text(
        f"# Gradient check: {STEPS} steps of {STEP_LOGIT} logit at most, patches of {size}\n\n{text}"
    )
    click.echo(text)
    raised = float(np.mean([o.f1_after > o.f1_before for o in outcomes["F"]]))
    click.echo(f"F raises the true F1 in {raised:.1%} of {len(chosen)} patches (bar: {BAR:.0%})")


if __name__ == "__main__":
    main()
