"""Time a batch against as many single starts: `python -m benchmarks.bench_batch [--cases 20] [--threads 2] [options]`.

Synthetic whole heads, segmented first by a start of `lesionwise segment` each, then by one `lesionwise batch`, then by
one with --prefetch; options that it does not know go to all three (--overlap 0 is four times as fast). Peak memory
is of the process and its children's largest. The masks must be the same.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lesionwise.challenge_layout import SEGMENTATION, TIME1, TIME2

BAR = 0.75
"""Mean time of a case in a batch over that of a single start, at most."""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--threads", default="2")
    chosen, more = parser.parse_known_args(arguments)
    options = ["--threads", chosen.threads, "--quiet", *more]
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), chosen.cases, options)


def measure(folder: Path, count: int, options: list[str]) -> None:
    source = folder / "cases"
    lesionwise("phantom", source, "--cases", count, "--seed", 1)
    cases = sorted(path.name for path in source.iterdir())
    print(f"{count} synthetic cases, seconds a case; {' '.join(options)}")

    (folder / "single").mkdir()
    lesionwise(
        "segment", *pair(source / cases[0]), "-o", folder / "warm.nii.gz", *options
    )  # compiled code is kept
    start = mean(count, lambda: [lesionwise("--version") for _ in cases])
    single = mean(
        count,
        lambda: [
            lesionwise("segment", *pair(source / name), "-o", folder / f"single/{name}.nii.gz", *options)
            for name in cases
        ],
    )
    print(f"  {'single starts':28} {single:7.1f}   (of which Python alone {start:.1f})")
    for title, switches in (("batch", []), ("batch --prefetch", ["--prefetch"])):
        out = folder / title
        seconds = mean(count, lambda o=out, s=switches: lesionwise("batch", source, o, *s, *options))
        same = all(
            (out / name / SEGMENTATION).read_bytes() == (folder / f"single/{name}.nii.gz").read_bytes()
            for name in cases
        )
        verdict = "ok" if seconds <= BAR * single else "TOO SLOW"
        print(
            f"  {title:28} {seconds:7.1f}   {seconds / single:.2f} of single starts, bar {BAR}: {verdict};"
            f" masks {'the same' if same else 'DIFFER'}"
        )
    peak_gb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9
    print(f"  {'peak memory of a process':28} {peak_gb:7.2f} GB")


def pair(folder: Path) -> tuple[object, ...]:
    return "-t1", folder / TIME1, "-t2", folder / TIME2


def lesionwise(*arguments: object) -> None:
    subprocess.run(
        [sys.executable, "-m", "lesionwise.cli", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL
    )


def mean(count: int, run) -> float:
    begin = time.perf_counter()
    run()
    return (time.perf_counter() - begin) / count


if __name__ == "__main__":
    main()
