"""What a small commit costs after thousands of them, with the care that the runs take themselves.

    python -m benchmarks.runs --commits 5000

Each commit appends 20 rows, reads what a scheduled run reads and maintains the table. Times are
seconds of the processor. The last line is one JSON object.
"""

import argparse
import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa

from pipeline.lake.checking import require_whole
from pipeline.lake.compaction import maintain
from pipeline.lake.statistics import size_of
from pipeline.lake.tables import Lake

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


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commits", type=int, default=5000)
    asked = parser.parse_args(arguments)
    with TemporaryDirectory() as folder:
        found = measure(Lake(str(Path(folder) / "lake"), "runs"), asked.commits)
    for name, value in found.items():
        print(f"{name:<16}{value:>14,}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
