"""All benchmarks in one table: `make bench` stores it, `make bench-check` compares with what is stored.

python -m benchmarks [--check] [MODULE ...]

The rows of each module are stored as soon as it is done, in the place of those from before: a part can be measured again.
"""

import sys
from importlib import import_module
from pathlib import Path

from benchmarks.table import markdown, merged, regressions

MODULES = (
    "bench_network",
    "bench_case",
    "bench_batch",
    "bench_growth",
    "bench_preprocessing",
    "bench_filters",
    "bench_evaluation",
    "bench_report",
    "bench_network_memory",
    "bench_memory",
)
"""Each offers `rows()`; a new benchmark is one module and one line here."""

RESULTS = Path(__file__).with_name("RESULTS.md")


def main(arguments: list[str]) -> int:
    """Run the modules named, or all; return 1 where --check finds something worse."""
    check = "--check" in arguments
    stored = RESULTS.read_text() if RESULTS.exists() else ""
    worse = []
    for name in [argument for argument in arguments if argument != "--check"] or MODULES:
        rows = list(import_module(f"benchmarks.{name}").rows())
        print(*(f"{row.name}: {row.ratio:.3g}" for row in rows), sep="\n", flush=True)
        worse += regressions(rows, stored)
        if not check:
            RESULTS.write_text(merged(RESULTS.read_text() if RESULTS.exists() else "", markdown(rows)))
    for line in worse:
        print(f"worse by more than a fifth: {line}", file=sys.stderr)
    return int(check and bool(worse))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
