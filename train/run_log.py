"""A run's log: a line of JSON for each measurement, and the same for TensorBoard."""

import json
from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from lesionwise.errors import InputError
from lesionwise.files import text_writer, write_whole
from train import distributed

LOG = "log.jsonl"


class Log:
    """A run's log: printed, and kept in its folder as JSON lines and for TensorBoard. Only process 0 writes."""

    def __init__(self, folder: Path, step: int) -> None:
        """Begin or go on after `step`: what an interrupted run logged beyond its checkpoint is dropped.

        Raises:
            InputError: the log that is there is none.
        """
        self.file, self.writer = folder / LOG, None
        if distributed.rank():
            return
        kept = [line for line in read_log(folder) if line["step"] <= step]
        write_whole({self.file: text_writer("".join(json.dumps(line) + "\n" for line in kept))})
        self.writer = SummaryWriter(str(folder / "log"), purge_step=step + 1)

    def write(self, step: int, seconds: float, values: Mapping[str, float]) -> None:
        """Log values at a step."""
        if self.writer is None or not values:
            return
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        with self.file.open("a") as file:
            file.write(json.dumps({"step": step, "seconds": round(seconds, 1), **values}) + "\n")
        text = " ".join(f"{name} {value:.4g}" for name, value in values.items())
        print(f"step {step} {seconds / 60:.1f} min {text}", flush=True)

    def close(self) -> None:
        """Write what is still held back."""
        if self.writer is not None:
            self.writer.close()


def read_log(folder: Path) -> list[dict[str, float]]:
    """Return the lines that a run has logged; none where it never did. A last line that was half written is left out.

    Raises:
        InputError: another line is none of a log.
    """
    file = folder / LOG
    if not file.is_file():
        return []
    lines = file.read_bytes().splitlines()
    found: list[dict[str, float]] = []
    for number, line in enumerate(lines, start=1):
        try:
            values = json.loads(line)
            float(values["step"])
            found.append(values)
        except (ValueError, LookupError, TypeError) as error:
            if number < len(lines):
                raise InputError(
                    f"{file}: line {number} is none of a log; remove it, or name another --output"
                ) from error
    return found
