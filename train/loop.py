"""What both training stages share: the loop with its checkpoints, averaged weights, the course of the learning rate."""

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lesionwise.errors import InputError, LesionwiseError
from train import distributed
from train.checkpoints import load_checkpoint, save_checkpoint
from train.run_log import Log

CHECKPOINT = "checkpoint.pt"
LARGEST_GRADIENT = 1.0


class Stateful(Protocol):
    """What a checkpoint can hold besides the network."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""

    def load_state_dict(self, state: dict[str, Any], /) -> Any:
        """Take up a state."""


@dataclass
class Averaged:
    """An exponential moving average of a network's parameters."""

    decay: float
    parameters: dict[str, Tensor] = field(default_factory=dict)

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Move the average towards the network; early on it follows quickly."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            if name in self.parameters:
                self.parameters[name].lerp_(value.float(), 1 - decay)
            else:
                self.parameters[name] = value.detach().float().clone()

    @contextmanager
    def lent_to(self, network: nn.Module) -> Iterator[None]:
        """Let the network have the averaged parameters inside, if there are any yet; its own come back."""
        own = {name: value.clone() for name, value in network.state_dict().items()}
        network.load_state_dict(self.parameters or own)
        try:
            yield
        finally:
            network.load_state_dict(own)


def learning_rate(rate: float, schedule: str, progress: float, step: int) -> float:
    """Return the learning rate: "constant", or "cosine" down to a fiftieth after a warm-up of 100 steps."""
    if schedule == "constant":
        return rate
    warm_up = min(1.0, (step + 1) / 100)
    return rate * warm_up * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))


@dataclass
class Run:
    """A training run in a folder: it stops after its budget and goes on from its last checkpoint.

    A run that goes on repeats the uninterrupted run bit by bit, in a single process with one number of threads and loader
    workers, as long as the learning rate does not depend on the time used: a constant one, or a budget in steps. Not so a
    metric network's with walkers (`train.metric_network.walkers`), which no checkpoint holds: it begins with new ones.

    Attributes:
        folder: holds the checkpoint, `log.jsonl` (a JSON object a line) and the same for TensorBoard.
        minutes: budget of wall time over all starts of the run.
        steps: budget of optimiser steps; whichever is used up first ends the run.
        more: what else a checkpoint holds.
    """

    folder: Path
    network: nn.Module
    optimizer: torch.optim.Optimizer
    averaged: Averaged
    minutes: float
    steps: int
    step: int = 0
    seconds: float = 0.0
    more: Mapping[str, Stateful] = field(default_factory=dict)

    def resume(self) -> bool:
        """Load the last checkpoint of the folder; False where there is none.

        Raises:
            InputError: it is of another network, or torn.
        """
        file = self.folder / CHECKPOINT
        if not file.is_file():
            return False
        load_checkpoint(
            file, self._take_up, "state of a run", "remove it to begin anew, or name another --output"
        )
        return True

    def _take_up(self, state: Mapping[str, Any]) -> None:
        device = self._device()
        try:
            self.network.load_state_dict(state["network"])
        except RuntimeError as error:
            raise InputError(
                f"{self.folder / CHECKPOINT}: the run there trains another network; "
                "name another --output, or its --width and --head"
            ) from error
        self.optimizer.load_state_dict(state["optimizer"])
        self.averaged.parameters = {name: value.to(device) for name, value in state["averaged"].items()}
        self.step, self.seconds = state["step"], state["seconds"]
        for name, part in self.more.items():
            if name in state.get("more", {}):
                part.load_state_dict(state["more"][name])
        torch.set_rng_state(state["random"])
        if device.type == "cuda" and "random_cuda" in state:
            torch.cuda.set_rng_state(state["random_cuda"], device)

    def save(self) -> None:
        """Store the run's state; the old checkpoint is replaced in one step."""
        if distributed.rank():
            return
        state = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averaged": self.averaged.parameters,
            "step": self.step,
            "seconds": self.seconds,
            "more": {name: part.state_dict() for name, part in self.more.items()},
            "random": torch.get_rng_state(),
        }
        if self._device().type == "cuda":
            state["random_cuda"] = torch.cuda.get_rng_state(self._device())
        save_checkpoint(self.folder / CHECKPOINT, state)

    def _device(self) -> torch.device:
        return next(self.network.parameters()).device

    def progress(self) -> float:
        """Return how much of the budget is used, 0 to 1."""
        return min(1.0, max(self.step / self.steps, self.seconds / (60 * self.minutes)))

    def train(
        self,
        batches: Any,
        step_loss: Callable[[Any], tuple[Tensor, dict[str, float]]],
        rate: Callable[[float], float],
        save_seconds: float = 300.0,
        log_steps: int = 20,
        epoch_steps: int = 0,
        on_epoch: Callable[[int], dict[str, float]] | None = None,
    ) -> None:
        """Run until the budget is used up, or SIGTERM or SIGINT asks for an end; either way the state is saved.

        After a signal the program ends (SystemExit, as a shell reports that signal): what would be made of the run's result is
        not made of half of it.

        `rate` maps progress in [0, 1] to the learning rate. `on_epoch` is called every `epoch_steps` steps with the number
        of the epoch that has ended, and with 0 before the first step; what it returns is logged.
        """
        log, begun_at = Log(self.folder, self.step), self.step
        if on_epoch and self.step == 0:
            log.write(0, self.seconds, on_epoch(0))
        started, last_save, used_before = time.monotonic(), time.monotonic(), self.seconds
        waited, patches, steps, sums, since = 0.0, 0, 0, dict[str, float](), time.monotonic()
        self.network.train()
        with _stop_signals() as asked:
            # A new loader draws a seed from torch's generator, which an uninterrupted run would not have done here.
            random = torch.get_rng_state()
            iterator = iter(batches)
            torch.set_rng_state(random)
            while (
                not (signalled := int(distributed.agreed(asked[0] if asked else 0))) and self.progress() < 1
            ):
                wanted = time.monotonic()
                batch = next(iterator)
                waited += time.monotonic() - wanted
                patches += len(batch[0]) * distributed.processes()
                for group in self.optimizer.param_groups:
                    group["lr"] = rate(self.progress())
                loss, parts = step_loss(batch)
                if not torch.isfinite(loss):
                    raise LesionwiseError(
                        f"the loss is {loss.item()} at step {self.step}; lower the learning rate (--rate)"
                    )
                self.optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_GRADIENT)
                self.optimizer.step()
                self.step, steps = self.step + 1, steps + 1
                self.averaged.update(self.network, self.step)
                for name, value in parts.items():
                    sums[name] = sums.get(name, 0.0) + value
                self.seconds = distributed.agreed(used_before + time.monotonic() - started)
                if self.step % log_steps == 0:
                    passed = time.monotonic() - since
                    # After a stop between two lines these are fewer than `log_steps`.
                    means = {name: value / steps for name, value in sums.items()}
                    means |= {"seconds_per_step": passed / steps, "patches_per_second": patches / passed}
                    means["waiting_share"] = waited / passed
                    means["learning_rate"] = self.optimizer.param_groups[0]["lr"]
                    log.write(self.step, self.seconds, means)
                    waited, patches, steps, sums, since = 0.0, 0, 0, {}, time.monotonic()
                if on_epoch and epoch_steps and self.step % epoch_steps == 0:
                    begun = time.monotonic()
                    log.write(self.step, self.seconds, on_epoch(self.step // epoch_steps))
                    since += time.monotonic() - begun  # what is logged of the speed is of the steps alone
                    self.network.train()
                # Only with an empty sum, so that the log of a run that goes on is the uninterrupted run's, too.
                if not sums and time.monotonic() - last_save > save_seconds:
                    begun = time.monotonic()
                    self.save()
                    last_save = time.monotonic()
                    since += last_save - begun
            if self.step > begun_at:  # else the checkpoint would look newer than what was made of it
                self.save()
        log.close()
        if signalled:
            if not distributed.rank():
                print(f"stopped after step {self.step}; the same command goes on from there", flush=True)
            distributed.stop()
            raise SystemExit(128 + signalled)


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT inside, so that the step that is being made is made whole."""
    asked: list[int] = []
    # What a shell starts in the background ignores SIGINT; so does the run then.
    numbers = [n for n in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(n) is not signal.SIG_IGN]
    before = [signal.signal(number, lambda number, _frame: asked.append(number)) for number in numbers]
    try:
        yield asked
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
