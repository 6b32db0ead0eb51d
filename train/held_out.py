"""Which patients a run holds out and which it has learned: stated in its checkpoints, its outputs and its weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lesionwise.errors import UsageError


@dataclass
class HeldOut:
    """The names of the patients that a run holds out, and of those that are learned: its own and those of what it starts from.

    With others held out a run that goes on, or starts from another's network, would be measured on patients that it has
    learned.
    """

    names: tuple[str, ...]
    learned: tuple[str, ...] = ()

    @classmethod
    def of(cls, data: Path | None, fold: int) -> "HeldOut":
        """Return those of a folder of patients, or none. Raises as `train.patients.training_and_held_out`."""
        if data is None:
            return cls(())
        from train.patients import find_patients, training_and_held_out

        training, held_out = training_and_held_out(find_patients(data), fold)
        return cls(tuple(patient.name for patient in held_out), tuple(patient.name for patient in training))

    @classmethod
    def stated_in(cls, state: Mapping[str, Any]) -> "HeldOut":
        """Return those of the run that a file is of, as it states them; none where it states nothing."""
        stated = state.get("more", {}).get("held_out", {})
        return cls(tuple(stated.get("names", ())), tuple(stated.get("learned", ())))

    def stated(self) -> dict[str, Any]:
        """Return what a file states for `stated_in`, as checkpoints do."""
        return {"more": {"held_out": self.state_dict()}}

    def after(self, start: "HeldOut", file: Path) -> "HeldOut":
        """Return these, with whom a start has learned among the learned: what is made of this run hands them on.

        `start`: what `file` states, which holds a network, or the outputs of one, that the run starts from or learns from.

        Raises:
            UsageError: it has learned patients that this run holds out and would be measured on.
        """
        # Older files state whom their run held out and not whom it learned: that may be anyone else.
        is_older = bool(start.names) and not start.learned
        wrong = set(self.names) - set(start.names) if is_older else set(self.names) & set(start.learned)
        if wrong:
            raise UsageError(
                f"{file}: it {'may have been' if is_older else 'was'} made with {_told(sorted(wrong))}, which this run "
                "holds out; name one of the same --data and --fold"
            )
        return HeldOut(self.names, _union(self.learned, start.learned))

    def with_another(self, other: "HeldOut") -> "HeldOut":
        """Return those of the mean of two networks: held out by both, learned by one of them."""
        both = tuple(name for name in self.names if name in other.names)
        return HeldOut(both, _union(self.learned, other.learned))

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""
        return {"names": list(self.names), "learned": list(self.learned)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Compare, and keep whom the run has learned so far. Raises `UsageError` where it held out others."""
        if tuple(state["names"]) != self.names:
            raise UsageError(
                f"the run there holds out {_told(state['names'])}, this one {_told(self.names)}; "
                "name another --output, or its --data and --fold"
            )
        self.learned = _union(self.learned, state.get("learned", ()))


def _union(names: Sequence[str], others: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted({*names, *others}))


def _told(names: Sequence[str]) -> str:
    return ", ".join(names) or "no patients"


NO_PATIENTS = HeldOut(())
"""Held out by a run without patients."""
