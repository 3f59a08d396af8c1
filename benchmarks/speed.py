"""How fast features are built: rows per second and memory, beside DuckDB, Polars and pandas.

    make bench-features [SIZES="20000 100000 200000"] [HOME_DIR=DIR]

Simulates and ingests three worlds of a year (a home keeps them for the next time), runs everything
in processes of their own, and prints a table; the last line is one JSON object with the figures.
Other answers count only where they are equal to ours.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from math import log
from pathlib import Path
from statistics import linear_regression
from typing import TypeAlias

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import micro_batch
from benchmarks.worlds import NEW_ROWS, ROOT, World
from features.build import BuildConfig, pieces
from features.declarations import Group
from features.engines.protocol import EngineName
from features.groups.catalogue import portfolio_groups
from features.ip.addresses import packaged_database

BY_HAND = Path(__file__).with_name("by_hand.sql")
SIZES = (200_000, 2_000_000, 10_000_000)
MEMORY = BuildConfig().memory_limit  # of the engine; what Python holds comes on top of it
SHORT, TIMES = 5.0, 3  # a run of fewer seconds is done three times, and the middle one counts
# how far two answers may be apart: of the larger number where that is above 1, so that counts are
# equal exactly
NEAR = 1e-9
BARS = {
    "rows_per_second_10m": ">= 100,000",
    "peak_gb_10m": "<= 8",
    "growth_exponent": "<= 1.05",
    "vs_duckdb": ">= 3",
    "vs_polars": ">= 1",
    "vs_pandas": ">= 35",
    "micro_batch_warm_seconds": "<= 0.3",
    "micro_batch_cold_seconds": "<= 2",
}

CORE = ("amount", "clock", "retailer", "receiver", "sender")
CORE_COLUMNS = (
    *("transaction_id", "event_time", "as_of", "account_id", "amount"),
    *("merchant_id", "merchant_category", "counterparty_id", "account_opened_at", "channel"),
)
OF_SPANS = ("account_count", "merchant_count", "merchant_fraud_rate")
NEAREST = frozenset(  # to the 15 of the Handbook
    [
        *("amount_paid", "clock_weekend", "clock_night"),
        *("account_mean_1d", "amount_mean_7d", "amount_mean_30d"),
        *(f"{name}_{span}" for name in OF_SPANS for span in ("1d", "7d", "30d")),
    ]
)


def all_groups(world: World) -> tuple[Group, ...]:
    """Everything that the world's portfolio can have."""
    return portfolio_groups(world.lake.columns("transactions"))


def core_groups() -> tuple[Group, ...]:
    """The groups that one can write by hand, on the columns they need."""
    return portfolio_groups(CORE_COLUMNS, order=CORE)


def nearest_groups() -> tuple[Group, ...]:
    """The 15 features nearest to the Handbook's, and what serves them."""
    return tuple(map(_nearest, core_groups()))


def _nearest(group: Group) -> Group:
    kept = [one for one in group.features if not one.shown or one.name in NEAREST]
    return replace(group, features=tuple(kept))


def build_ours(
    world: World, groups: Sequence[Group], to: Path, *, engine: EngineName = "kernel"
) -> None:
    """Build features from the files of the lake and write them to a Parquet file piece by piece."""
    config = BuildConfig(
        engine=engine,
        ip_databases=(packaged_database(),),
        memory_limit=MEMORY,
        spill_folder=world.spill,
    )
    built = pieces(world.transactions, world.labels, groups, config=config)
    first = next(built)
    texts = [field.name for field in first.schema if pa.types.is_string(field.type)]
    # a dictionary of numbers that hardly repeat takes more time than it saves space
    with pq.ParquetWriter(to, first.schema, use_dictionary=texts) as writer:
        writer.write_table(first)
        del first
        for piece in built:
            writer.write_table(piece)


def build_by_hand(world: World, to: Path) -> None:
    """Run the query by hand and write its answer to a Parquet file."""
    config = {"memory_limit": MEMORY, "temp_directory": str(world.spill)}
    with duckdb.connect(config=config) as connection:
        connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
        connection.execute("SET preserve_insertion_order = false")
        connection.read_parquet(world.transactions, union_by_name=True).create_view("transactions")
        connection.read_parquet(world.labels, union_by_name=True).create_view("labels")
        connection.execute(
            f"COPY ({BY_HAND.read_text(encoding='utf-8')}) TO '{to}' (FORMAT parquet)"
        )


def _rival(name: str, world: World, to: Path) -> None:
    """Build by another library, which only the process that runs it imports."""
    import_module(f"benchmarks.{name}").build(world.transactions, world.labels, to)


# writes its answers to a file; may say itself how long it took
Way: TypeAlias = Callable[[World, Path], float | None]
WAYS: dict[str, tuple[str, Way]] = {
    "core": (
        "ours: amount, clock, retailer, receiver, sender",
        lambda world, to: build_ours(world, core_groups(), to),
    ),
    "by_hand": ("the same, one DuckDB query by hand", build_by_hand),
    "in_polars": (
        "the same, Polars",
        lambda world, to: _rival("in_polars", world, to),
    ),
    "nearest": (
        "ours: the 15 nearest to the Handbook's",
        lambda world, to: build_ours(world, nearest_groups(), to),
    ),
    "in_pandas": (
        "the Handbook's 15, its pandas way",
        lambda world, to: _rival("in_pandas", world, to),
    ),
    "all_groups": ("ours: all groups", lambda world, to: build_ours(world, all_groups(world), to)),
    "state": ("ours: the state of the history", lambda world, _: micro_batch.keep_state(world)),
    "micro_batch_warm": (
        f"ours: all groups of the last {NEW_ROWS:,} rows, from it",
        micro_batch.build_again,
    ),
    "micro_batch_cold": ("the same, in a fresh process with its imports", micro_batch.build_once),
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a run took: seconds on the clock, seconds of all cores together, and peak memory."""

    way: str
    rows: int
    seconds: float
    core_seconds: float
    peak_gb: float


class Benchmark:
    """Runs everything in the worlds of a home, saying so as it goes."""

    def __init__(self, home: Path) -> None:
        self._home, self._started = home, time.perf_counter()
        self.runs: list[Run] = []

    def world(self, rows: int) -> World:
        """Make a world, or find it made."""
        world = World(self._home, rows)
        world.make()
        self._say(f"{rows:,} transactions are in the lake")
        return world

    def run(self, way: str, world: World) -> Run:
        """Run one thing in a process of its own."""
        runs = [_in_a_process(way, world)]
        if runs[0].seconds < SHORT and _is_of_all_rows(way):
            runs += [_in_a_process(way, world) for _ in range(TIMES - 1)]
        middle = sorted(runs, key=lambda run: run.seconds)[len(runs) // 2]
        self.runs.append(middle)
        self._say(f"{WAYS[way][0]}, {world.rows:,} rows: {middle.seconds:.2f} s")
        return middle

    def agree(self, theirs: str, ours: str, world: World) -> None:
        """Check that two ways gave equal answers to all that `theirs` answers, else SystemExit."""
        if differing := differences(world.answers(ours), world.answers(theirs)):
            raise SystemExit(
                f"{theirs} differs from {ours} on {world.rows:,} transactions, "
                f"in so many rows: {differing}"
            )
        self._say(f"{theirs} equals {ours} on {world.rows:,} transactions")

    def _say(self, what: str) -> None:
        print(f"[{time.perf_counter() - self._started:5.0f} s] {what}", flush=True)


def _is_of_all_rows(way: str) -> bool:
    return way != "state" and not way.startswith("micro_batch")


def _in_a_process(way: str, world: World) -> Run:
    command = [sys.executable, "-m", "benchmarks.speed", "--home", str(world.home)]
    command += ["--run", way, str(world.rows)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return Run(**json.loads(done.stdout.splitlines()[-1]))


def run_here(way: str, world: World) -> Run:
    """Run one thing in this process, which is to be a fresh one."""
    started, worked = time.perf_counter(), time.process_time()
    own_seconds = WAYS[way][1](world, world.answers(way))
    return Run(
        way=way,
        rows=world.rows,
        seconds=round(own_seconds or time.perf_counter() - started, 3),
        core_seconds=round(time.process_time() - worked, 3),
        peak_gb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2),
    )


def differences(ours: Path, theirs: Path) -> dict[str, int]:
    """In how many of their rows each feature differs from ours; theirs may be a part of the rows.

    A feature or row that only one of them has differs, too.
    """
    with duckdb.connect(config={"memory_limit": "4GB"}) as connection:
        tables = [connection.read_parquet(str(file)) for file in (ours, theirs)]
        kinds = [dict(zip(table.columns, map(str, table.types), strict=True)) for table in tables]
        for name, table in zip(("ours", "theirs"), tables, strict=True):
            table.create_view(name)
        shared = [name for name in kinds[0] if name in kinds[1] and name != "transaction_id"]
        counts = ["count(*) FILTER (WHERE ours.transaction_id IS NULL) AS transaction_id"]
        counts += [
            f"count(*) FILTER (WHERE NOT {_same(name, kinds[0][name])}) AS {name}"
            for name in shared
        ]
        counts += [f"count(*) AS {name}" for name in sorted(kinds[0].keys() ^ kinds[1].keys())]
        query = f"SELECT {', '.join(counts)} FROM ours RIGHT JOIN theirs USING (transaction_id)"  # noqa: S608
        counted = connection.sql(query).to_arrow_table().to_pylist()[0]
    return {name: count for name, count in counted.items() if count}


def _same(name: str, kind: str) -> str:
    ours, theirs = f"ours.{name}", f"theirs.{name}"
    equal = f"{ours} IS NOT DISTINCT FROM {theirs}"
    if kind != "DOUBLE":
        return f"({equal})"
    larger = f"greatest(1, abs({ours}), abs({theirs}))"
    return f"({equal} OR coalesce(abs({ours} - {theirs}) <= {NEAR} * {larger}, false))"


def measure(benchmark: Benchmark, sizes: Sequence[int]) -> dict[str, float]:
    """Run everything; returns the figures."""
    small, middle = (benchmark.world(rows) for rows in sizes[:2])
    for world in (small, middle):
        core, by_hand, polars = (
            benchmark.run(way, world) for way in ("core", "by_hand", "in_polars")
        )
        for way in ("by_hand", "in_polars"):
            benchmark.agree(way, "core", world)
    nearest, pandas = (benchmark.run(way, middle) for way in ("nearest", "in_pandas"))
    large = benchmark.world(sizes[2])
    scaled = [benchmark.run("all_groups", world) for world in (small, middle, large)]
    state, warm, cold = (
        benchmark.run(way, large) for way in ("state", "micro_batch_warm", "micro_batch_cold")
    )
    for way in ("micro_batch_warm", "micro_batch_cold"):
        benchmark.agree(way, "all_groups", large)
    large.answers("all_groups").unlink()
    growth = linear_regression(
        [log(run.rows) for run in scaled], [log(run.seconds) for run in scaled]
    )
    return {
        "rows_per_second_10m": round(scaled[-1].rows / scaled[-1].seconds),
        "peak_gb_10m": scaled[-1].peak_gb,
        "growth_exponent": round(growth.slope, 3),
        "vs_duckdb": round(by_hand.seconds / core.seconds, 2),
        "vs_polars": round(polars.seconds / core.seconds, 2),
        "vs_pandas": round(pandas.seconds / nearest.seconds, 1),
        "micro_batch_warm_seconds": warm.seconds,
        "micro_batch_cold_seconds": cold.seconds,
        "state_seconds": state.seconds,
        "state_bytes": micro_batch.state_bytes(large),
    }


def table(runs: Iterable[Run]) -> list[str]:
    """Write the runs as lines."""
    lines = [f"{'':<50} {'rows':>12} {'seconds':>9} {'of cores':>9} {'rows/s':>9} {'GB':>6}"]
    for run in runs:
        speed = f"{run.rows / run.seconds:,.0f}" if _is_of_all_rows(run.way) else ""
        took = f"{run.seconds:>9.2f} {run.core_seconds:>9.2f} {speed:>9} {run.peak_gb:>6.2f}"
        lines.append(f"{WAYS[run.way][0]:<50} {run.rows:>12,} {took}")
    return lines


def main() -> None:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path)
    parser.add_argument("--sizes", type=int, nargs=3, default=SIZES)
    parser.add_argument(
        "--run", nargs=2, metavar=("WAY", "ROWS"), help="only this, in this process"
    )
    arguments = parser.parse_args()
    if arguments.run:
        way, rows = arguments.run
        print(json.dumps(asdict(run_here(way, World(arguments.home, int(rows))))))
        return
    with tempfile.TemporaryDirectory() as folder:
        benchmark = Benchmark((arguments.home or Path(folder)).absolute())
        figures = measure(benchmark, arguments.sizes)
    print("\n".join(["", *table(benchmark.runs), ""]))
    for name, value in figures.items():
        print(f"{name:<24} {value:<12} {BARS.get(name, '')}".rstrip())
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
