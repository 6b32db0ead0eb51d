"""What both training stages share: checkpoints, averaged weights, the learning rate's course, the log."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter


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


@dataclass
class Run:
    """A training run in a folder: it stops after its budget and goes on from its last checkpoint.

    Attributes:
        folder: holds `checkpoint.pt` (kept out of the repository) and the TensorBoard log.
        minutes: budget of wall time over all starts of the run.
        steps: budget of optimiser steps; whichever is used up first ends the run.
    """

    folder: Path
    network: nn.Module
    optimizer: torch.optim.Optimizer
    averaged: Averaged
    minutes: float
    steps: int
    step: int = 0
    seconds: float = 0.0

    def resume(self) -> bool:
        """Load the last checkpoint of the folder; False where there is none."""
        file = self.folder / "checkpoint.pt"
        if not file.is_file():
            return False
        state = torch.load(file, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.averaged.parameters = state["averaged"]
        self.step, self.seconds = state["step"], state["seconds"]
        torch.set_rng_state(state["random"])
        return True

    def save(self) -> None:
        """Store the run's state; the old checkpoint is replaced in one step."""
        state = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averaged": self.averaged.parameters,
            "step": self.step,
            "seconds": self.seconds,
            "random": torch.get_rng_state(),
        }
        part = self.folder / "checkpoint.pt.part"
        torch.save(state, part)
        part.replace(self.folder / "checkpoint.pt")

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
    ) -> None:
        """Run until the budget is used up. `rate` maps progress in [0, 1] to the learning rate."""
        writer = SummaryWriter(str(self.folder / "log"))
        started, last_save, used_before = time.monotonic(), time.monotonic(), self.seconds
        waited, sums, since = 0.0, dict[str, float](), time.monotonic()
        self.network.train()
        iterator = iter(batches)
        while self.progress() < 1:
            asked = time.monotonic()
            batch = next(iterator)
            waited += time.monotonic() - asked
            for group in self.optimizer.param_groups:
                group["lr"] = rate(self.progress())
            loss, parts = step_loss(batch)
            if not torch.isfinite(loss):
                raise FloatingPointError(
                    f"the loss is {float(loss)} at step {self.step}; lower the learning rate"
                )
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimizer.step()
            self.step += 1
            self.averaged.update(self.network, self.step)
            for name, value in parts.items():
                sums[name] = sums.get(name, 0.0) + value
            self.seconds = used_before + time.monotonic() - started
            if self.step % log_steps == 0:
                passed = time.monotonic() - since
                means = {name: value / log_steps for name, value in sums.items()}
                means |= {"seconds_per_step": passed / log_steps, "waiting_share": waited / passed}
                for name, value in means.items():
                    writer.add_scalar(name, value, self.step)
                text = " ".join(f"{name} {value:.4f}" for name, value in means.items())
                print(
                    f"step {self.step} {self.seconds / 60:.1f} min lr {rate(self.progress()):.1e} {text}",
                    flush=True,
                )
                waited, sums, since = 0.0, {}, time.monotonic()
            if time.monotonic() - last_save > save_seconds:
                self.save()
                last_save = time.monotonic()
        self.save()
        writer.close()
