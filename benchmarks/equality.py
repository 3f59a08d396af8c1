"""Whether every feature of the kernel is the one of the same declarations run as SQL by DuckDB.

    python -m benchmarks.equality [--rows 300000 2000000] [--handbook] [--home DIR]

Of simulated worlds of so many rows and of the Handbook's payments (examples/handbook.toml). Counts
are to be equal exactly, sums to 1e-9. The last line is one JSON object: how many rows and features
were compared, and in how many of them the two differ.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.speed import build_ours, differences
from benchmarks.worlds import ROOT, World
from features.engines.protocol import EngineName
from pipeline.portfolio import Portfolio, read_portfolio

ENGINES: tuple[EngineName, ...] = ("kernel", "duckdb")
ROWS = (300_000,)


class Handbook(World):
    """The Handbook's payments in a lake."""

    @cached_property
    def portfolio(self) -> Portfolio:
        """What its columns mean."""
        return read_portfolio(ROOT / "examples" / "handbook.toml")

    def make(self) -> None:
        """Ingest it, unless that was done before."""
        self.strata("ingest", str(self.portfolio.file))


def compare(world: World) -> dict[str, int]:
    """Build all features both ways; returns what was compared and what differs."""
    world.make()
    groups = world.portfolio.groups(world.lake.columns("transactions"))
    for engine in ENGINES:
        build_ours(world, groups, world.answers(engine), engine=engine)
    ours, theirs = (world.answers(engine) for engine in ENGINES)
    counted = [pq.ParquetFile(file).metadata for file in (ours, theirs)]
    differing = differences(ours, theirs)
    for name, rows in differing.items():
        print(f"{name} differs in {rows:,} rows")
    return {
        "rows": counted[0].num_rows,
        "columns": counted[0].num_columns,
        "missing_rows": abs(counted[0].num_rows - counted[1].num_rows),
        "differing": len(differing),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="*", default=ROWS)
    parser.add_argument("--handbook", action="store_true", help="the Handbook's data, too")
    parser.add_argument("--home", type=Path, help="where worlds are made, and kept")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        home = (asked.home or Path(folder)).absolute()
        worlds = {f"world_{rows}": World(home, rows) for rows in asked.rows}
        if asked.handbook:
            worlds["handbook"] = Handbook(home / "handbook", 0)
        found = {}
        for name, world in worlds.items():
            found[name] = compare(world)
            print(f"{name}: {found[name]}", flush=True)
    print(json.dumps(found))
    if any(one["differing"] or one["missing_rows"] for one in found.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
