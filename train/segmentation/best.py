"""The best network of a run by its F1 on held-out patches, kept in `best.pt` beside the checkpoint."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from train.checkpoints import load_checkpoint, save_checkpoint

BEST = "best.pt"


@dataclass
class Best:
    """The highest F1 of a run so far; a checkpoint holds it, so that a run that goes on keeps what it has."""

    folder: Path
    f1: float = -math.inf

    def offer(self, network: nn.Module, f1: float, step: int) -> None:
        """Keep the network, which has its averaged parameters now, if its F1 is higher than any before."""
        if f1 > self.f1:
            self.f1 = f1
            state = {"averaged": network.state_dict(), "step": step, "f1": f1}
            save_checkpoint(self.folder / BEST, state)

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""
        return {"f1": self.f1}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state. The file may be newer than the checkpoint, if the run was killed between the two."""
        file = self.folder / BEST
        kept = load_checkpoint(file, _f1, "best network", "remove it") if file.is_file() else -math.inf
        self.f1 = max(float(state["f1"]), kept)


def _f1(state: Mapping[str, Any]) -> float:
    return float(state["f1"])
