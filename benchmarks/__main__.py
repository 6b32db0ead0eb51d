"""All benchmarks in one table: `make bench` stores it, `make bench-check` compares with what is stored.

python -m benchmarks [--check] [MODULE ...]

The rows of each module are stored as soon as it is done, in the place of those from before: a part can be measured again.
"""

import sys
from importlib import import_module
from pathlib import Path

import click

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


@click.command()
@click.argument("modules", nargs=-1, type=click.Choice(MODULES), metavar="[MODULE]...")
@click.option(
    "--check", is_flag=True, help="Store nothing; fail where a ratio is worse by more than a fifth."
)
def main(modules: tuple[str, ...], check: bool) -> None:
    """Measure the modules named, or all, and store their rows in RESULTS.md."""
    stored = RESULTS.read_text() if RESULTS.exists() else ""
    worse = []
    for name in modules or MODULES:
        rows = list(import_module(f"benchmarks.{name}").rows())
        click.echo("\n".join(f"{row.name}: {row.ratio:.3g}" for row in rows))
        worse += regressions(rows, stored)
        if not check:
            RESULTS.write_text(merged(RESULTS.read_text() if RESULTS.exists() else "", markdown(rows)))
    for line in worse:
        click.echo(f"worse by more than a fifth: {line}", err=True)
    if check and worse:
        sys.exit(1)


if __name__ == "__main__":
    main()
