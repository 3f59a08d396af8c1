"""Kills and power cuts at random moments: nothing that was reported is lost, nothing stays behind.

    python -m benchmarks.faults --kills 50 --power-cuts 50

A power cut leaves of each file what was synced of it, and of each folder the names it had then. The
last line is one JSON object.
"""

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.leftovers import leftovers, leftovers_of_state
from benchmarks.score_kills import kills_of_scoring, kills_of_updates
from benchmarks.states import from_state, is_unlike_rebuilt
from benchmarks.store_kills import (
    kills_of_backups,
    kills_of_first_commands,
    kills_of_upgrades,
)
from pipeline.disk.durability import LOCK, WATCHERS
from pipeline.failures import BrokenError
from pipeline.ingest.ingest import ingest
from pipeline.lake.checking import require_whole
from pipeline.lake.compaction import compact
from pipeline.lake.repair import repair
from pipeline.lake.tables import MONTH_OF, Lake
from pipeline.portfolio import Portfolio, read_portfolio

NOW = datetime(2025, 6, 1, tzinfo=UTC)
FILES, ROWS = 6, 60
HALF = 0.5
LONGEST = {"ingest": 0.4, "compaction": 0.1}  # seconds until it is killed
SETTINGS = 'name = "faults"\n[source]\npath = "drop"\nsettle = "0s"\n'
INGEST = """
import sys
from datetime import datetime
from pathlib import Path
from pipeline.ingest.ingest import ingest
from pipeline.lake.compaction import compact
from pipeline.lake.tables import Lake
from pipeline.portfolio import read_portfolio
file, now = Path(sys.argv[1]), datetime.fromisoformat(sys.argv[2])
portfolio = read_portfolio(file)
lake = Lake(str(file.parent / "lake"), portfolio.name)
print("ready", flush=True)
if sys.argv[3] == "ingest":
    ingest(portfolio, lake, now=now, batch_rows=20, spill=file.parent / "spill")
else:
    compact(lake.uri("transactions"), "as_of")
print("done", flush=True)
"""


# what is killed beside ingest and compaction
OTHER_KILLS = {
    "first commands": kills_of_first_commands,
    "backups": kills_of_backups,
    "upgrades": kills_of_upgrades,
    "scoring": kills_of_scoring,
    "updates of the state": kills_of_updates,
}


@dataclass
class Disk:
    """What is on the disk for good, and each step of how it came to be."""

    root: Path
    steps: list[tuple[Path, bytes | frozenset[str]]] = field(default_factory=list)

    def watch(self, path: Path) -> None:
        """Note what a sync made safe: a file's content, or a folder's names."""
        names = frozenset(one.name for one in path.iterdir()) if path.is_dir() else None
        self.steps.append((path, path.read_bytes() if names is None else names))

    def rebuild(self, to: Path, steps: int, chance: np.random.Generator) -> None:
        """Lay out what a power cut after so many steps leaves.

        Names that were not safe may be there all the same, with nothing in them.
        """
        contents, names = dict[Path, bytes](), dict[Path, frozenset[str]]()
        for path, what in self.steps[:steps]:
            if isinstance(what, bytes):
                contents[path] = what
            else:
                names[path] = what
        later = ((path, what) for path, what in self.steps[steps:] if not isinstance(what, bytes))
        late = next(later, None)
        if late is not None and late[0] in names and chance.random() < HALF:
            names[late[0]] |= late[1]
        for folder, found in names.items():
            for name in found:
                file = folder / name
                if not file.is_dir() and name != LOCK:
                    copy = to / file.relative_to(self.root)
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    copy.write_bytes(contents.get(file, b""))


def portfolio_in(folder: Path) -> Portfolio:
    """A portfolio whose source is a folder of files."""
    (folder / "drop").mkdir(parents=True)
    (folder / "portfolio.toml").write_text(SETTINGS, encoding="utf-8")
    return read_portfolio(folder / "portfolio.toml")


def deliver(portfolio: Portfolio, number: int) -> set[str]:
    """Put a file of rows into the source; returns their ids."""
    ids = [f"t{number}-{place}" for place in range(ROWS)]
    rows = {
        "transaction_id": ids,
        "event_time": [f"2025-0{1 + place % 4}-02T10:00:{place % 60:02}Z" for place in range(ROWS)],
        "account_id": [f"a{place % 7}" for place in range(ROWS)],
        "amount": [f"{place + 1}.5" for place in range(ROWS)],
        "is_fraud": [str(place % 2) for place in range(ROWS)],
    }
    pq.write_table(pa.table(rows), portfolio.file.parent / "drop" / f"{number}.parquet")
    return set(ids)


def state(lake: Lake) -> list[list[str]]:
    """All that the lake says of the rows, however they came in."""
    told = []
    for table in ("transactions", "labels"):
        rows = lake.read(table)
        found = [] if rows is None else rows.to_pylist()
        told.append(sorted(str({**row, "delivery": None}) for row in found))
    return told


def power_cuts(folder: Path, count: int, *, seed: int = 7) -> dict[str, int]:
    """Cut the power at so many moments of several runs; each time the next run goes on."""
    chance, lost, unequal = np.random.default_rng(seed), 0, 0
    portfolio = portfolio_in(folder / "whole")
    lake, disk = Lake(str(folder / "whole" / "lake"), portfolio.name), Disk(folder / "whole")
    reported = list[tuple[int, set[str]]]()
    WATCHERS.append(disk.watch)
    try:
        for number in range(FILES):
            ids = deliver(portfolio, number)
            ingest(portfolio, lake, now=NOW, batch_rows=20)
            reported.append((len(disk.steps), ids))
        for table in ("transactions", "labels"):
            compact(lake.uri(table), MONTH_OF[table])
    finally:
        WATCHERS.remove(disk.watch)
    whole = state(lake)
    for place in range(count):
        steps = int(chance.integers(len(disk.steps) + 1))
        home = folder / f"cut-{place}"
        disk.rebuild(home, steps, chance)
        ours = Lake(str(home / "lake"), portfolio.name)
        told = set[str]().union(*(ids for step, ids in reported if step <= steps))
        lost += len(told - _ids(ours))
        ingest(portfolio, ours, now=NOW)
        unequal += state(ours) != whole
    return {"power_cuts": count, "lost": lost, "unequal": unequal}


def _ids(lake: Lake) -> set[str]:
    """The ids that the lake has, after what is broken was repaired."""
    try:
        require_whole(lake.folder)
    except BrokenError:
        repair(lake, now=NOW)
    rows = lake.read("transactions")
    return set() if rows is None else set(rows["transaction_id"].to_pylist())


def kills(folder: Path, count: int, *, seed: int = 7) -> dict[str, int]:
    """Kill ingest and compaction at so many random moments each; then one run to the end."""
    chance, unequal, left = np.random.default_rng(seed), 0, 0
    for place in range(count * len(LONGEST)):
        portfolio = portfolio_in(folder / f"kill-{place}")
        whole = portfolio_in(folder / f"whole-{place}")
        lake, other = (Lake(str(one.file.parent / "lake"), one.name) for one in (portfolio, whole))
        spill, states = portfolio.file.parent / "spill", portfolio.file.parent / "state"
        what = list(LONGEST)[place % len(LONGEST)]
        for number in range(2):
            deliver(portfolio, number)
            deliver(whole, number)
            if number == 0 or what == "compaction":
                ingest(portfolio, lake, now=NOW, batch_rows=10, spill=spill)
                from_state(portfolio, lake, states)
        _kill(portfolio, what, chance.uniform(0, LONGEST[what]))
        ingest(portfolio, lake, now=NOW, spill=spill)
        ingest(whole, other, now=NOW)
        unequal += state(lake) != state(other)
        unequal += is_unlike_rebuilt(portfolio, lake, states)
        left += len([*leftovers(lake, spill), *leftovers_of_state(states)])
    return {"kills": count * len(LONGEST), "unequal": unequal, "leftovers": left}


def _kill(portfolio: Portfolio, what: str, after: float) -> None:
    command = [sys.executable, "-c", INGEST, str(portfolio.file), NOW.isoformat(), what]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        if process.stdout is not None:
            process.stdout.readline()
        time.sleep(after)
        process.send_signal(signal.SIGKILL)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what became of all kills and power cuts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--power-cuts", type=int, default=50)
    asked = parser.parse_args(arguments)
    with TemporaryDirectory() as folder:
        killed = dict.fromkeys(("kills", "unequal", "leftovers"), 0)
        for name, kill_all in {"ingest and compaction": kills, **OTHER_KILLS}.items():
            found = kill_all(Path(folder) / name, asked.kills)
            print(f"{name}: {found}", flush=True)
            killed = {key: value + found[key] for key, value in killed.items()}
        cut = power_cuts(Path(folder) / "cuts", asked.power_cuts)
    found = {**cut, **killed, "unequal": killed["unequal"] + cut["unequal"]}
    for name, value in found.items():
        print(f"{name:<12}{value:>8,}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
