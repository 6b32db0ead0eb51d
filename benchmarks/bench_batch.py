"""Time a batch against as many single starts: `python -m benchmarks.bench_batch [--cases 20] [options of segment]`.

Synthetic heads are segmented by a start of `lesionwise segment` each, then by one `lesionwise batch --no-prefetch`, then by
one with --prefetch. Options that it does not know go to all three, as --threads 2. The masks must be the same. Seconds of
processor time tell more than the clock's where the machine is busy with something else.

--heads N makes only N different heads, and copies them. --block N cuts N voxels an axis out of the middle of each and
takes all of it for brain: cases that cost little, in which the start of the program weighs much.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np

from lesionwise.challenge_layout import SEGMENTATION, TIME1, TIME2

BAR = 0.75
"""Mean time of a case in a batch over that of a single start, at most."""

BRAIN_MASK = "brain_mask.nii.gz"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--heads", type=int)
    parser.add_argument("--block", type=int)
    chosen, options = parser.parse_known_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "cases"
        make_cases(source, chosen.cases, chosen.heads or chosen.cases, chosen.block)
        compare(source, Path(folder), ["--quiet", *options])


def make_cases(source: Path, count: int, heads: int, block: int | None) -> None:
    lesionwise("phantom", source, "--cases", heads, "--seed", 1)
    made = sorted(source.iterdir())
    if block:
        for folder in made:
            cut(folder, block)
    for number in range(heads, count):
        shutil.copytree(made[number % heads], source / f"copy{number:03d}")


def cut(folder: Path, block: int) -> None:
    for name in (TIME1, TIME2):
        image = nib.load(folder / name)
        middle = tuple(slice((size - block) // 2, (size + block) // 2) for size in image.shape)
        part = image.slicer[middle]
        nib.save(nib.Nifti1Image(np.asarray(part.dataobj), part.affine), folder / name)
    nib.save(nib.Nifti1Image(np.ones((block,) * 3, np.uint8), part.affine), folder / BRAIN_MASK)


def compare(source: Path, folder: Path, options: list[str]) -> None:
    cases = sorted(source.iterdir())
    given = (cases[0] / BRAIN_MASK).exists()
    (folder / "single").mkdir()

    def single(case: Path) -> None:
        mask = ["--brain-mask", case / BRAIN_MASK] if given else []
        scans = ["-t1", case / TIME1, "-t2", case / TIME2, "-o", folder / f"single/{case.name}.nii.gz"]
        lesionwise("segment", *scans, *mask, *options)

    def batch(out: Path, *switches: str) -> None:
        mask = ["--brain-mask-name", BRAIN_MASK] if given else []
        lesionwise("batch", source, out, *switches, *mask, *options)

    single(cases[0])  # so that compiled code is kept from now on
    print(f"{len(cases)} cases, mean of a case; {' '.join(options)}          seconds   processor seconds")
    alone = report("single starts", len(cases), lambda: [single(case) for case in cases])
    report("the same that only load", len(cases), lambda: [load() for _ in cases])
    for switch in ("--no-prefetch", "--prefetch"):
        title = f"batch {switch}"
        seconds = report(title, len(cases), lambda t=title, s=switch: batch(folder / t, s))
        same = all(
            (folder / title / case.name / SEGMENTATION).read_bytes()
            == (folder / f"single/{case.name}.nii.gz").read_bytes()
            for case in cases
        )
        verdict = "ok" if seconds <= BAR * alone else "TOO SLOW"
        print(
            f"    {seconds / alone:.2f} of single starts, bar {BAR}: {verdict}; masks {'the same' if same else 'DIFFER'}"
        )


def report(title: str, count: int, run: Callable[[], object]) -> float:
    """Run, print the means of seconds and processor seconds, and return the first."""
    begin, before = time.perf_counter(), os.times()
    run()
    seconds, after = (time.perf_counter() - begin) / count, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    print(f"  {title:50} {seconds:8.1f}   {used / count:8.1f}", flush=True)
    return seconds


def lesionwise(*arguments: object) -> None:
    run("-m", "lesionwise.cli", *map(str, arguments))


def load() -> None:
    run(
        "-c",
        "import lesionwise.pipeline as p, lesionwise.progress as g; p.Engine.start(p.Settings(), g.Progress())",
    )


def run(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
