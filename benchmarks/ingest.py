"""How fast rows come in from files, and in how much memory, beside DuckDB alone.

    python -m benchmarks.ingest [--home DIR] [--sizes 1000000 10000000]

Writes the same payments as csv, csv.gz and Parquet; takes each file into a lake of its own, and
lets DuckDB read it and write a Parquet file of the same rows. Both run in processes of their own,
in turn, some times over; the best of each counts, since a machine is disturbed and never hurried.
Prints a table; the last line is one JSON object with the figures: rows a second of the largest
size, the greatest peak memory of a process, and all our seconds over all of DuckDB's.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from pipeline.ingest.ingest import ingest
from pipeline.lake.tables import Lake
from pipeline.portfolio import read_portfolio

ROOT = Path(__file__).parent.parent
SIZES = (1_000_000, 10_000_000)
FORMS = {"csv": "rows.csv", "gz": "rows.csv.gz", "parquet": "rows.parquet"}
TIMES = {1_000_000: 3}  # so often is a size run where it is not run once
NOW = datetime(2026, 1, 1, tzinfo=UTC)
MEMORY = "2500MB"  # DuckDB's own limit, as ingest has it
BARS = {"peak_gb": "<= 4", "time_over_duckdb": "<= 3"}
PORTFOLIO = 'name = "bench"\n[source]\npath = "{file}"\n'
# 15 columns, 150 bytes a row as csv
ROWS = """
    SELECT printf('T%010d', i) AS transaction_id,
           strftime(make_timestamp(1735689600000000 + i * 3000000), '%Y-%m-%dT%H:%M:%SZ')
               AS event_time,
           printf('A%07d', hash(i) % 400000) AS account_id,
           printf('%.2f', 1 + hash(i + 1) % 50000 / 100.0) AS amount,
           ['EUR', 'USD', 'GBP'][1 + (hash(i + 2) % 3)::INTEGER] AS currency,
           printf('10.%d.%d.%d', hash(i) % 256, hash(i + 3) % 256, hash(i + 4) % 256)
               AS ip_address,
           printf('D%012x', hash(i + 5) % 1000000000000) AS device_id,
           printf('%.4f', hash(i + 6) % 1800000 / 10000.0 - 90) AS latitude,
           printf('%.4f', hash(i + 7) % 3600000 / 10000.0 - 180) AS longitude,
           ['FR', 'DE', 'US', 'GB'][1 + (hash(i + 8) % 4)::INTEGER] AS country,
           printf('M%06d', hash(i + 9) % 60000) AS merchant_id,
           printf('%04d', 4000 + hash(i + 10) % 2000) AS merchant_category,
           printf('C%08d', hash(i + 11) % 900000) AS counterparty_id,
           ['online', 'pos', 'transfer'][1 + (hash(i + 12) % 3)::INTEGER] AS channel,
           (hash(i + 13) % 200 = 0)::INTEGER::VARCHAR AS is_fraud
    FROM range({rows}) AS r(i)
"""
TYPED = """
    SELECT * REPLACE (event_time::TIMESTAMPTZ AS event_time, amount::DOUBLE AS amount,
                      latitude::DOUBLE AS latitude, longitude::DOUBLE AS longitude,
                      is_fraud = '1' AS is_fraud) FROM ({rows})
"""


def write_source(folder: Path, rows: int) -> None:
    """Write the same payments in each form, unless they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "rows.parquet").exists():
        return
    text = ROWS.format(rows=rows)
    with duckdb.connect(config={"memory_limit": MEMORY}) as connection:
        connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
        connection.execute(f"COPY ({text}) TO '{folder}/rows.csv' (HEADER)")
        connection.execute(f"COPY ({text}) TO '{folder}/rows.csv.gz' (HEADER, COMPRESSION gzip)")
        typed = TYPED.format(rows=text)
        connection.execute(f"COPY ({typed}) TO '{folder}/rows.parquet' (FORMAT parquet)")


def take_in(source: Path, to: Path) -> int:
    """Ingest a file into a lake; returns how many rows it has then."""
    portfolio_file = source.with_name(f"{source.name}.toml")
    portfolio_file.write_text(PORTFOLIO.format(file=source.name), encoding="utf-8")
    portfolio = read_portfolio(portfolio_file)
    return ingest(portfolio, Lake(str(to), portfolio.name), now=NOW, spill=to.parent).taken


def by_duckdb(source: Path, to: Path) -> int:
    """Let DuckDB read a file, whose columns it finds out, and write a Parquet file."""
    read = "read_parquet" if source.suffix == ".parquet" else "read_csv"
    with duckdb.connect(config={"memory_limit": MEMORY}) as connection:
        connection.execute(f"SET temp_directory = '{to.parent}/spill'")
        connection.execute("SET enable_progress_bar = false")
        done = connection.execute(f"COPY (FROM {read}('{source}')) TO '{to}' (FORMAT parquet)")
        return int(done.fetchall()[0][0])


WAYS: dict[str, tuple[str, Callable[[Path, Path], int]]] = {
    "ours": ("strata ingest", take_in),
    "duckdb": ("DuckDB alone", by_duckdb),
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one way took for one file: seconds on the clock, and peak memory."""

    way: str
    form: str
    rows: int
    seconds: float
    peak_gb: float


def run_here(way: str, form: str, rows: int, home: Path) -> Run:
    """Run one thing in this process, which is to be a fresh one. SystemExit where rows are lost."""
    source = home / str(rows) / FORMS[form]
    with tempfile.TemporaryDirectory(dir=home) as folder:
        started = time.perf_counter()
        taken = WAYS[way][1](source, Path(folder) / "taken")
        seconds = time.perf_counter() - started
    if taken != rows:
        raise SystemExit(f"{WAYS[way][0]} took {taken:,} of the {rows:,} rows of {source}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return Run(way=way, form=form, rows=rows, seconds=round(seconds, 2), peak_gb=round(peak, 2))


def _in_a_process(way: str, form: str, rows: int, home: Path) -> Run:
    command = [sys.executable, "-m", "benchmarks.ingest", "--home", str(home)]
    command += ["--run", way, form, str(rows)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return Run(**json.loads(done.stdout.splitlines()[-1]))


def measure(home: Path, sizes: Sequence[int]) -> list[Run]:
    """Run both ways for each form and size, in turn; returns the best of each."""
    best = []
    for rows in sizes:
        write_source(home / str(rows), rows)
        for form in FORMS:
            found: dict[str, list[Run]] = {way: [] for way in WAYS}
            for _ in range(TIMES.get(rows, 1)):
                for way in WAYS:
                    found[way].append(_in_a_process(way, form, rows, home))
            best += [min(runs, key=lambda run: run.seconds) for runs in found.values()]
            print(f"{form} of {rows:,} rows is measured", flush=True)
    return best


def figures(runs: Sequence[Run]) -> dict[str, float]:
    """The figures of the last line."""
    ours = [run for run in runs if run.way == "ours"]
    largest = max(run.rows for run in ours)
    speeds = {run.form: run.rows / run.seconds for run in ours if run.rows == largest}
    took = {way: sum(run.seconds for run in runs if run.way == way) for way in WAYS}
    found = {f"{form}_rows_per_second": round(speed) for form, speed in speeds.items()}
    over = round(took["ours"] / took["duckdb"], 2)
    return {**found, "peak_gb": max(run.peak_gb for run in ours), "time_over_duckdb": over}


def table(runs: Sequence[Run]) -> list[str]:
    """Write the runs as lines."""
    alone = {(run.form, run.rows): run.seconds for run in runs if run.way == "duckdb"}
    lines = [
        f"{'':<15} {'from':<8} {'rows':>11} {'seconds':>8} {'rows/s':>9} {'GB':>5} {'times':>6}"
    ]
    for run in runs:
        times = run.seconds / alone[run.form, run.rows]
        took = f"{run.seconds:>8.2f} {run.rows / run.seconds:>9,.0f} {run.peak_gb:>5.2f}"
        lines.append(f"{WAYS[run.way][0]:<15} {run.form:<8} {run.rows:>11,} {took} {times:>6.2f}")
    return lines


def main() -> None:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument(
        "--run", nargs=3, metavar=("WAY", "FORM", "ROWS"), help="only this, in this process"
    )
    arguments = parser.parse_args()
    if arguments.run:
        way, form, rows = arguments.run
        print(json.dumps(asdict(run_here(way, form, int(rows), arguments.home))))
        return
    home = (arguments.home or Path(tempfile.mkdtemp())).absolute()
    try:
        runs = measure(home, arguments.sizes)
    finally:
        if arguments.home is None:
            shutil.rmtree(home)
    found = figures(runs)
    print("\n".join(["", *table(runs), ""]))
    for name, value in found.items():
        print(f"{name:<24} {value:<12} {BARS.get(name, '')}".rstrip())
    print(json.dumps(found))


if __name__ == "__main__":
    main()
