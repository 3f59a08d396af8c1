"""A micro-batch as a scheduled run does it: from the state that was kept when the last rows came.

The state is made of the history before them. Each micro-batch begins with that state, tells what
came since in the lake's log, builds the features of the last rows and keeps what it read.
"""

import os
import shutil
import time
from datetime import datetime
from pathlib import Path
from statistics import median

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.worlds import World
from features.build import BuildConfig
from features.ip.addresses import packaged_database
from pipeline.lake.changes import rows_added
from pipeline.lake.snapshot import Snapshot, read_snapshot
from pipeline.progress import SILENT
from pipeline.score.state import features_since

BATCHES = 5


def keep_state(world: World) -> None:
    """Make the state of the history anew."""
    made = _made(world)
    shutil.rmtree(made, ignore_errors=True)
    history = world.history
    bounds = world.lake.bounds("transactions", "as_of", version=history.version)
    if bounds is None:
        raise SystemExit(f"the world in {world.folder} has no rows; remove that folder")
    _features(world, history, since=bounds[1], states=made)


def state_bytes(world: World) -> int:
    """How large the state of the history is on the disk."""
    return sum(file.stat().st_size for file in _made(world).rglob("*") if file.is_file())


def build_once(world: World, to: Path) -> float:
    """Build the features of the last rows once.

    Returns the seconds that took, and those from the start of this process until now.
    """
    return _age() + _micro_batches(world, to, times=1)


def build_again(world: World, to: Path) -> float:
    """Build the features of the last rows again and again, after once that does not count.

    Returns the seconds that the middle one took.
    """
    _micro_batches(world, to, times=1)
    return _micro_batches(world, to, times=BATCHES)


def _micro_batches(world: World, to: Path, *, times: int) -> float:
    since, states, seconds = _first_new(world), world.folder / "states", []
    for _ in range(times):
        shutil.rmtree(states, ignore_errors=True)
        # its files are never changed, only others put in their place
        shutil.copytree(_made(world), states, copy_function=os.link)
        started = time.perf_counter()
        snapshot = read_snapshot(world.portfolio, world.lake)
        features = _features(world, snapshot, since=since, states=states)
        seconds.append(time.perf_counter() - started)
    pq.write_table(features, to)
    return median(seconds)


def _features(world: World, snapshot: Snapshot, *, since: datetime, states: Path) -> pa.Table:
    config = BuildConfig(
        ip_databases=(packaged_database(),), spill_folder=world.spill, state_folder=states
    )
    delay = world.portfolio.arrival_delay
    return features_since(snapshot, since, delay=delay, build_config=config, progress=SILENT)


def _first_new(world: World) -> datetime:
    """The first as_of of the rows that came last."""
    table, after = world.lake.uri("transactions"), world.history.version
    new = rows_added(table, after=after, until=world.lake.version("transactions"))
    if new is None or not new.num_rows:
        raise SystemExit(f"no rows came last in {world.folder}; remove that folder")
    first: datetime = pc.min(new["as_of"]).as_py()
    return first


def _made(world: World) -> Path:
    return world.folder / "state-of-history"


def _age() -> float:
    """How many seconds ago this process was started."""
    words = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    started = int(words[19]) / os.sysconf("SC_CLK_TCK")  # ticks after the machine's own start
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started
