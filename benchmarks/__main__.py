"""All benchmarks in one table: `make bench` stores it, `make bench-check` compares with what is stored.

python -m benchmarks [--check] [MODULE ...]
"""

import sys
from importlib import import_module
from pathlib import Path

from benchmarks.table import markdown, regressions

MODULES = (
    "bench_preprocessing",
    "bench_memory",
    "bench_network",
    "bench_network_memory",
    "bench_evaluation",
)
"""Each offers `rows()`; a new benchmark is one module and one line here."""

RESULTS = Path(__file__).with_name("RESULTS.md")


def main(arguments: list[str]) -> int:
    """Run the modules named, or all; return 1 where --check finds something worse."""
    check = "--check" in arguments
    named = [argument for argument in arguments if argument != "--check"]
    rows = [row for name in named or MODULES for row in import_module(f"benchmarks.{name}").rows()]
    table = markdown(rows)
    print(table)
    if not check:
        if not named:  # a part of the table would replace the whole
            RESULTS.write_text(table)
        return 0
    worse = regressions(rows, RESULTS.read_text())
    for line in worse:
        print(f"worse by more than a fifth: {line}", file=sys.stderr)
    return int(bool(worse))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
