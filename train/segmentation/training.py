"""Stage 2 from its options to the end: sources, networks, objective, loop."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lesionwise.devices import autocast, choose_precision
from lesionwise.errors import UsageError
from lesionwise.network import UNet
from lesionwise.winograd import accelerate
from train import distributed
from train.augmentation import Augmentation
from train.growth import grown
from train.held_out import HeldOut
from train.loop import Averaged, Run, Stateful, learning_rate
from train.metric_network.files import held_out_of as metric_held_out_of
from train.metric_network.files import load_metric_network
from train.metric_network.mask_pairs import SMALLEST_PATCH
from train.patches import Batch, PatchSettings, make_loader
from train.segmentation.best import Best
from train.segmentation.blob_loss import blob_loss
from train.segmentation.cc_dice import cc_dice_loss
from train.segmentation.epochs import Epochs
from train.segmentation.metric_loss import MetricLoss
from train.segmentation.objective import LesionLoss, Objective
from train.segmentation.options import Options
from train.segmentation.stages import held_out_of, load_network
from train.sources import Sources, TrainingStream, open_sources

GROWTH_NOISE = 0.2
"""Of the kernels of a network grown from a narrower one, relative to their spread: enough to tell the copies apart."""


def train(options: Options, drawn: Sequence[Batch] | None = None) -> Run:
    """Train, or go on training, until the budget is used up.

    `drawn`: the batches of all steps where they were drawn already, as `draw_batches` does.

    Raises:
        UsageError, InputError: the options do not fit together, or a file that they name is missing or wrong.
    """
    device = distributed.start(options.device)
    torch.set_num_threads(options.threads)
    torch.backends.cudnn.benchmark = True  # patches have one size: the fastest convolution is looked for once
    shards = _shards(options)
    settings = patch_settings(options, shards)
    lesion_loss = _lesion_loss(options, device)
    start = None if options.initial is None else load_network(options.initial).state_dict()
    held_out = HeldOut.of(options.data, options.fold)
    for file, stated in ((options.initial, held_out_of), (options.metric_network, metric_held_out_of)):
        if file is not None:
            held_out = held_out.after(stated(file), file)
    sources = _sources(options)
    options.output.mkdir(parents=True, exist_ok=True)

    torch.manual_seed(options.seed)  # here: F, built before, must not change the weights and the dropout
    network = UNet(width=options.width, dropout=options.dropout)
    precision = choose_precision(options.precision, device)
    if device.type == "cpu" and precision == torch.float32:
        accelerate(network)
    network.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # missing in torch's stubs
    if start is not None:
        network.load_state_dict(grown(start, network, GROWTH_NOISE, options.seed))
    optimizer = torch.optim.Adam(network.parameters(), lr=options.rate, betas=(0.9, 0.999))
    learned = lesion_loss if isinstance(lesion_loss, MetricLoss) else None
    more: dict[str, Stateful] = {"held_out": held_out}
    if learned and options.refresh_metric:
        more["metric_network"] = learned.metric_network
    run = Run(
        options.output,
        network,
        optimizer,
        Averaged(options.average),
        options.minutes,
        options.steps,
        more=more,
    )
    goes_on = run.resume()
    if goes_on and not distributed.rank():
        print(f"going on from step {run.step}")
    best = Best.of_run(options.output, held_out) if goes_on else Best(options.output, held_out)
    distributed.seed_apart(options.seed + run.step)

    own = range(distributed.rank(), shards, distributed.processes())
    objective = Objective(lesion_loss, options.alpha, options.cross_entropy, options.balance_gradients)
    if options.compile:
        network.compile()  # in place: names in checkpoints stay
    model = distributed.wrapped(network)

    def step_loss(batch: Batch) -> tuple[Tensor, dict[str, float]]:
        images, truth = (part.to(device, non_blocking=True) for part in batch)
        with autocast(device, precision):
            logits = model(images.to(memory_format=torch.channels_last_3d))
        return objective(logits.float(), truth)

    if drawn is None:
        in_order = device.type == "cpu"  # a GPU is so fast that it would wait for the slowest process
        batches: Iterable[Batch] = _loader(options, sources, settings, own, run.step, in_order)
    else:
        batches = drawn[run.step :]
    run.train(
        batches,
        step_loss,
        lambda progress: learning_rate(options.rate, options.schedule, progress, run.step),
        log_steps=options.log_steps,
        epoch_steps=options.epoch_steps,
        on_epoch=Epochs(options, sources, settings, network, learned, run, best),
    )
    distributed.stop()
    return run


def draw_batches(options: Options) -> list[Batch]:
    """Return the batches of all of a training's steps, in memory: for trainings that are to see the very same ones."""
    sources = _sources(options)
    loader = _loader(options, sources, patch_settings(options), range(1), 0, in_order=True)
    return list(islice(loader, options.steps))


def _sources(options: Options) -> Sources:
    return open_sources(
        options.backgrounds,
        options.shapes,
        options.data,
        options.cache,
        options.fold,
        options.synthetic_share,
        options.threads,
    )


def _loader(
    options: Options,
    sources: Sources,
    settings: PatchSettings,
    shards: Sequence[int],
    batches_done: int,
    in_order: bool,
) -> DataLoader[Batch]:
    augmentation = Augmentation(options.iqda, options.turns)
    stream = TrainingStream(sources, settings, options.seed, augmentation)
    whole = replace(settings, batch=settings.batch * len(shards))  # what waits holds all shards
    return make_loader(stream.shards(shards, batches_done), whole, options.workers, in_order)


def patch_settings(options: Options, shards: int = 1) -> PatchSettings:
    """Return what the patches of one shard are made of."""
    # A pair takes seconds to make, so that small patches are drawn in greater number.
    per_pair = options.patches_per_pair or max(PatchSettings.patches_per_pair, 48 * 32**3 // options.patch**3)
    if options.batch // shards > options.pairs_in_block * per_pair:
        raise UsageError(
            f"a batch of {options.batch // shards} is more than the {options.pairs_in_block * per_pair} patches of a block "
            "of pairs; raise --pairs-in-block or --patches-per-pair"
        )
    if options.around_new + options.around_old > 1:
        raise UsageError(
            f"--around-new {options.around_new:g} and --around-old {options.around_old:g} are more than all patches; "
            "lower one of them"
        )
    return PatchSettings(
        size=options.patch,
        batch=options.batch // shards,
        around_new=options.around_new,
        around_old=options.around_old,
        pairs_in_block=options.pairs_in_block,
        patches_per_pair=per_pair,
    )


def _shards(options: Options) -> int:
    """Return how many streams a batch is put together from."""
    shards = options.shards or distributed.processes()
    if shards % distributed.processes() or options.batch % shards:
        raise UsageError(
            f"a batch of {options.batch} in {shards} shards does not divide among {distributed.processes()} processes; "
            "make the batch a multiple of the shards, and these of the processes"
        )
    return shards


def _lesion_loss(options: Options, device: torch.device) -> LesionLoss | None:
    """Return the lesion-wise term."""
    if options.lesion_loss == "blob":
        return blob_loss
    if options.lesion_loss == "cc":
        return cc_dice_loss
    if options.lesion_loss == "none":
        return None
    if options.metric_network is None:
        raise UsageError("--lesion-loss metric-network needs a trained one; name it with --metric-network")
    if options.patch < SMALLEST_PATCH:
        raise UsageError(
            f"--patch {options.patch}: a metric network needs patches of {SMALLEST_PATCH} or more"
        )
    network, steps = load_metric_network(options.metric_network)
    if network.settings["head"] == "published" and network.settings["patch"] != options.patch:
        raise UsageError(
            f"{options.metric_network}: this metric network takes patches of {network.settings['patch']} voxels only, "
            f"not {options.patch}; train one for them"
        )
    if network.definition != options.definition:
        raise UsageError(
            f"{options.metric_network}: this metric network estimates the F1 of the definition {network.definition}, "
            f"not {options.definition}; name that with --definition, or train another"
        )
    if not distributed.rank():
        print(
            f"metric network: {network.settings['head']} head, trained for {steps} steps, alpha {options.alpha:g}"
        )
    return MetricLoss(network.to(device))
