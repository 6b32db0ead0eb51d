"""The best network of a run by its F1 on held-out patches, kept in `best.pt` beside the checkpoint."""

import math
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from train.checkpoints import load_checkpoint, save_checkpoint
from train.held_out import HeldOut

BEST = "best.pt"


@dataclass
class Best:
    """The highest F1 of a run so far."""

    folder: Path
    held_out: HeldOut
    f1: float = -math.inf

    @classmethod
    def of_run(cls, folder: Path, held_out: HeldOut) -> "Best":
        """Return that of a run that goes on: what `best.pt` states, which may be newer than the checkpoint.

        Raises:
            InputError: the file is torn, or something else.
        """
        file = folder / BEST
        if not file.is_file():
            return cls(folder, held_out)
        f1 = load_checkpoint(file, lambda state: float(state["f1"]), "best network", "remove it")
        return cls(folder, held_out, f1)

    def offer(self, network: nn.Module, f1: float, step: int) -> None:
        """Keep the network, which has its averaged parameters now, if its F1 is higher than any before."""
        if f1 > self.f1:
            self.f1 = f1
            state = {"averaged": network.state_dict(), "step": step, "f1": f1, **self.held_out.stated()}
            save_checkpoint(self.folder / BEST, state)
