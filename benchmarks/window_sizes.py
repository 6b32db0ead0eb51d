"""Whether windows find what the whole brain at once does: `python -m benchmarks.window_sizes PATIENT...`.

`PATIENT`: a folder in the challenge's layout. Each is preprocessed once; then the network sees the whole brain, and windows
of 64 (as published, stride 32) and of 128 (as the shipped weights were trained). Compared, where either map is not 0: the
mean absolute difference of probability; the lesions of both, how many of the windows' touch one of the whole brain's, and
the masks (Dice).
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.scanner_trouble import dice
from lesionwise.case_files import Case
from lesionwise.challenge_layout import SEGMENTATION, TIME1, TIME2
from lesionwise.engine import Engine, Settings
from lesionwise.inference import Windows
from lesionwise.lesions import find_lesions, label_lesions
from lesionwise.pipeline import predict
from lesionwise.prepared_case import PreparedCase, prepare_case, read_case
from lesionwise.progress import Lines, Progress

EDGES = (64, 128)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("patients", type=Path, nargs="+")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="fp32")
    arguments = options.parse_args()
    settings = Settings(threads=arguments.threads, precision=arguments.precision)
    progress = Progress(Lines())
    engine = Engine.start(settings, progress)
    print(
        "| pair | window | mean difference | lesions, whole brain | lesions, windows | of them touch | Dice |"
    )
    print("|---|---|---|---|---|---|---|", flush=True)
    for patient in arguments.patients:
        prepared = prepared_pair(patient, settings, engine, progress)
        whole, spacing_mm = probability(prepared, engine, None), prepared.inside.spacing_mm
        mask = find_lesions(whole, spacing_mm, engine.operating_point)
        for edge in EDGES:
            windows = probability(prepared, engine, edge)
            difference = np.abs(windows - whole)[(windows > 0) | (whole > 0)].mean()
            found = find_lesions(windows, spacing_mm, engine.operating_point)
            labels = label_lesions(found, spacing_mm)
            touching = np.unique(labels[mask & found])
            counts = f"{label_lesions(mask, spacing_mm).max()} | {labels.max()} | {len(touching)}"
            print(
                f"| {patient.name} | {edge} | {difference:.1e} | {counts} | {dice(found, mask):.2f} |",
                flush=True,
            )


def prepared_pair(patient: Path, settings: Settings, engine: Engine, progress: Progress) -> PreparedCase:
    """Return a pair as the network is given it. Nothing is written."""
    with tempfile.TemporaryDirectory() as folder:
        case = Case(patient / TIME1, patient / TIME2, Path(folder) / SEGMENTATION)
        return prepare_case(read_case(case, settings, progress), settings, engine.threads, progress)


def probability(prepared: PreparedCase, engine: Engine, edge: int | None) -> NDArray[np.float32]:
    """Return the map on the grid of the scans that the network finds in windows of an edge, or in the whole brain at once."""
    with_windows = replace(engine, windows=Windows(edge))
    found, _ = predict(prepared.pair, prepared.inside, with_windows, Progress(Lines()))
    return found


if __name__ == "__main__":
    main()
