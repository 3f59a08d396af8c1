"""What a scheduled run costs after any history, and a small commit after thousands of them.

    python -m benchmarks.runs [--sizes 100000 1000000 10000000] [--commits 5000] [--home DIR]
                              [--rows 1000000]

A run takes 1,000 new rows with their labels, collects verdicts, scores and raises alerts, after a
history of each size: cold in a fresh process with its imports, then warm in the same one. Before
each the home's pages are dropped from memory; bytes are those read from the disk since. The
champion is one of a small world of the same columns, read from its folder; it scores what comes
after the history. Each of the commits appends 20 rows, reads what a scheduled run reads of one
table and maintains it. Last, so many rows are scored for the first time, end to end. Times are
seconds of the processor. Prints tables; the last line is one JSON object. Exponents are between the
smallest and the largest size.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import end_to_end
from features.build import BuildConfig
from features.ip.addresses import packaged_database
from pipeline.casework import open_casework
from pipeline.ingest.ingest import ingest
from pipeline.ingest.verdicts import collect_labels
from pipeline.lake.checking import require_whole
from pipeline.lake.compaction import maintain
from pipeline.lake.statistics import size_of
from pipeline.lake.tables import Lake
from pipeline.models.layered.training import TrainConfig
from pipeline.portfolio import Portfolio, read_portfolio
from pipeline.registry.bundle import Bundle, read_bundle, write_bundle
from pipeline.registry.champion import Champion
from pipeline.score.score import score
from pipeline.simulate.simulate import SimulateConfig, simulate, write
from pipeline.train.train import train

ROOT = Path(__file__).parent.parent
SIZES = (100_000, 1_000_000, 10_000_000)
NEW, WAITING = 1_000, 3  # rows of a run, and deliveries of them
NOW = datetime(2026, 1, 1, tzinfo=UTC)
BUILD = BuildConfig(ip_databases=(packaged_database(),))
ROWS, EVERY = 20, timedelta(minutes=5)
START = datetime(2025, 1, 1, tzinfo=UTC)
A_YEAR = 105_120  # commits, one in five minutes
AROUND = 102  # as many commits as there are from one compaction to the next but one


def commit(lake: Lake, number: int) -> float:
    """One run's commit; returns its seconds of the processor."""
    moment = START + number * EVERY
    rows = {
        "transaction_id": [f"t{number}-{place}" for place in range(ROWS)],
        "as_of": [moment + timedelta(seconds=place) for place in range(ROWS)],
        "account_id": [f"a{(number * 7 + place) % 1000}" for place in range(ROWS)],
        "amount": [float(place) for place in range(ROWS)],
    }
    began = time.process_time()
    require_whole(lake.folder)
    taken = lake.next_number("transactions", "ingest")
    lake.append("transactions", pa.table(rows), writer="ingest", number=taken)
    lake.count("transactions")
    lake.bounds("transactions", "as_of")
    maintain(lake)
    return time.process_time() - began


def measure(lake: Lake, commits: int) -> dict[str, float]:
    """The figures of so many commits; `year_seconds` is the last commit of a year by the fit."""
    seconds = np.array([commit(lake, number) for number in range(commits)])
    around = min(AROUND, commits // 2)
    first, last = seconds[:around].mean(), seconds[-around:].mean()
    slope, start = np.polyfit(np.arange(commits), seconds, 1)
    size = size_of(lake.uri("transactions"))
    return {
        "commits_ratio": round(float(last / first), 3),
        "first_seconds": round(float(first), 4),
        "last_seconds": round(float(last), 4),
        "year_seconds": round(float(start + slope * A_YEAR), 3),
        "files": size.files,
        "bytes": size.bytes,
    }


def measure_sizes(folder: Path, sizes: Sequence[int]) -> dict[str, float]:
    """The figures of a run after histories of these sizes."""
    figures = [_after(folder, size) for size in sizes]
    print(f"{'history':>12}{'cold s':>9}{'warm s':>9}{'cold MB':>9}{'warm MB':>9}")
    for size, (cold, warm) in zip(sizes, figures, strict=True):
        seconds, read = (cold["seconds"], warm["seconds"]), (cold["bytes"], warm["bytes"])
        told = "".join(f"{one:>9.2f}" for one in (*seconds, *(one / 1e6 for one in read)))
        print(f"{size:>12,}{told}")
        print("".join(f"  {name} {value:.2f}" for name, value in warm["phases"].items()))
    first, last = figures[0], figures[-1]
    found = {
        "run_seconds_cold": round(last[0]["seconds"], 3),
        "run_seconds_warm": round(last[1]["seconds"], 3),
        "bytes_warm": last[1]["bytes"],
    }
    if len(sizes) > 1:
        grown = math.log(sizes[-1] / sizes[0])
        for name, of in (("time_exponent", "seconds"), ("bytes_exponent", "bytes")):
            found[name] = round(math.log(max(1e-9, last[1][of] / first[1][of])) / grown, 3)
    return found


def _after(folder: Path, size: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the cold and the warm run took after a history of the size."""
    home = folder / str(size)
    if not home.exists():
        make_home(home, size)
    command = [sys.executable, "-m", "benchmarks.runs", "--run-in", str(home)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    cold, warm = json.loads(done.stdout.splitlines()[-1])
    return cold, warm


def make_home(home: Path, size: int) -> None:
    """A home with a history, a champion for what follows, and a run or two behind it."""
    bundle = _small_bundle(home / "small")
    rows = simulate(SimulateConfig(transactions=size + WAITING * NEW, days=90))
    ordered = rows.transactions.sort_by("known_at")
    portfolio = write(rows, home / "world")
    text = portfolio.read_text(encoding="utf-8")
    text = text.replace('path = "transactions.parquet"', 'path = "came"\nfeed = true')
    portfolio.write_text(text, encoding="utf-8")
    (home / "world" / "came").mkdir()
    pq.write_table(ordered.slice(0, size), home / "world" / "came" / "history.parquet")
    for number in range(WAITING):
        pq.write_table(
            ordered.slice(size + number * NEW, NEW), home / "world" / f"{number}.parquet"
        )
    start = ordered["known_at"][size - 1].as_py()
    write_bundle(replace(bundle, trained_as_of=start), home / "champion")
    _ingest(read_portfolio(portfolio), home)
    _run(home)


def _small_bundle(folder: Path) -> Bundle:
    file = write(simulate(SimulateConfig(transactions=15_000, days=90)), folder)
    portfolio = read_portfolio(file)
    lake = Lake(str(folder / "lake"), portfolio.name)
    ingest(portfolio, lake, now=NOW)
    quick = TrainConfig(seeds=(1,), epochs=2)
    models = ("layered", "logistic")
    trained = train(
        portfolio, lake, build_config=BUILD, models=models, champion="layered", config=quick
    )
    return trained.bundle


def _ingest(portfolio: Portfolio, home: Path) -> None:
    ingest(portfolio, Lake(str(home / "lake"), portfolio.name), now=NOW, spill=home / "spill")


def two_runs(home: Path) -> list[dict[str, Any]]:
    """A run in this fresh process, and another one."""
    return [_run(home), _run(home)]


def _run(home: Path) -> dict[str, Any]:
    """The next delivery is taken in and scored; the seconds of the first have the imports in."""
    world, casework = home / "world", open_casework(f"sqlite:///{home / 'casework.db'}")
    waiting = sorted(world.glob("?.parquet"))
    waiting[0].rename(world / "came" / waiting[0].name)
    _drop_pages(home)
    is_first = len(waiting) == WAITING - 1  # after the one that made the home
    began, read = 0.0 if is_first else time.process_time(), _bytes_read()
    phases, at = dict[str, float](), time.process_time()
    portfolio = read_portfolio(world / "portfolio.toml")
    lake = Lake(str(home / "lake"), portfolio.name)
    champion = Champion(version="1", bundle=read_bundle(home / "champion"))
    config = replace(BUILD, state_folder=home / "state")
    steps: dict[str, Callable[[], object]] = {
        "ingest": lambda: _ingest(portfolio, home),
        "labels": lambda: collect_labels(lake, casework),
        "score": lambda: score(portfolio, lake, casework, champion, build_config=config, now=NOW),
    }
    for name, step in steps.items():
        step()
        phases[name], at = time.process_time() - at, time.process_time()
    casework.dispose()
    seconds, read = time.process_time() - began, _bytes_read() - read
    return {"seconds": seconds, "bytes": read, "phases": phases}


def _drop_pages(home: Path) -> None:
    os.sync()
    for file in home.rglob("*"):
        if file.is_file():
            with file.open("rb") as opened:
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _bytes_read() -> int:
    """Bytes that this process had read from the disk, faulted pages among them."""
    lines = Path("/proc/self/io").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--commits", type=int, default=5000)
    parser.add_argument("--home", type=Path, help="where homes are made, and kept")
    parser.add_argument("--rows", type=int, default=end_to_end.ROWS, help="end to end")
    parser.add_argument("--run-in", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.run_in:
        print(json.dumps(two_runs(asked.run_in)))
        return
    found = dict[str, float]()
    with TemporaryDirectory() as folder:
        if asked.sizes:
            found |= measure_sizes(asked.home or Path(folder), asked.sizes)
        if asked.commits:
            found |= measure(Lake(str(Path(folder) / "lake"), "runs"), asked.commits)
        if asked.rows:
            home = (asked.home or Path(folder)).absolute() / f"end-to-end-{asked.rows}"
            found |= end_to_end.measure(home, asked.rows)
    for name, value in found.items():
        print(f"{name:<28}{value:>14,}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
