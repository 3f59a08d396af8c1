"""What has no score is told by what came since, and is what all scores would tell."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.disk.durability import LOG
from pipeline.lake.compaction import checkpoint, compact
from pipeline.lake.snapshot import Snapshot
from pipeline.lake.tables import Lake, TableName
from pipeline.score.unscored import MOMENT, Unscored, find_unscored

START = datetime(2025, 1, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOURS = 200


@dataclass
class Stream:
    """Transactions that come, change and get scores; `is_new` says which way was gone last."""

    lake: Lake
    random: np.random.Generator
    stands: dict[str, datetime] = field(default_factory=dict)
    scored: set[str] = field(default_factory=set)

    def moment(self) -> datetime:
        return START + int(self.random.integers(-20, HOURS)) * HOUR

    def take(self, table: TableName, rows: dict[str, datetime]) -> pa.Table:
        return pa.table({"transaction_id": list(rows), "as_of": pa.array(rows.values(), MOMENT)})

    def come(self) -> None:
        fresh = {f"t{len(self.stands) + place}": self.moment() for place in range(3)}
        self.stands |= fresh
        number = self.lake.next_number("transactions", "ingest")
        rows = self.take("transactions", fresh)
        self.lake.append("transactions", rows, writer="ingest", number=number)

    def correct(self) -> None:
        name = str(self.random.choice(list(self.stands)))
        self.stands[name] = self.moment()
        number = self.lake.next_number("transactions", "ingest")
        rows = self.take("transactions", {name: self.stands[name]})
        self.lake.replace(
            "transactions", rows, key="transaction_id", writer="ingest", number=number
        )

    def put_together(self) -> None:
        table: TableName = self.random.choice(["transactions", "scores"])
        if self.lake.exists(table):
            compact(self.lake.uri(table), "as_of")
            checkpoint(self.lake.uri(table))

    def lose_the_last_commit(self) -> None:
        """As a repair does: a version goes, and the next one has its number."""
        version = self.lake.version("scores")
        if version < 2 or self.was_put_together("scores", version):
            return
        stored = self.lake.read("scores")
        (Path(self.lake.uri("scores")) / LOG / f"{version:020}.json").unlink()
        left = self.lake.read("scores")
        assert stored is not None
        assert left is not None
        self.scored = set(left["transaction_id"].to_pylist())

    def was_put_together(self, table: TableName, version: int) -> bool:
        log = Path(self.lake.uri(table)) / LOG
        return any(log.glob(f"{version:020}.checkpoint*"))

    def find(self, until: datetime | None) -> Unscored:
        snapshot = Snapshot(
            lake=self.lake,
            version=self.lake.version("transactions"),
            label_version=-1,
            columns=("transaction_id", "as_of"),
            groups=(),
            first=START,
        )
        return find_unscored(self.lake, snapshot, until=until, trained_as_of=START, alerted=-1)

    def score(self) -> None:
        until = self.moment() if self.random.random() < 0.2 else None
        number = self.lake.next_number("scores", "score")
        found = self.find(until)
        last = until or START + HOURS * HOUR
        expected = {name for name, at in self.stands.items() if START <= at < last}
        fresh = found.rows["transaction_id"].to_pylist()
        assert sorted(fresh) == sorted(expected - self.scored)
        assert found.waiting.num_rows == len(self.scored)
        if not fresh or self.random.random() < 0.2:  # nothing to score, or killed before
            return
        rows = found.rows.append_column("batch", pa.repeat(number, len(fresh)))
        since = pa.repeat(pa.scalar(found.start, MOMENT), len(fresh))
        self.lake.append(
            "scores",
            rows.append_column("scored_from", since),
            writer="score",
            number=number,
            marks=found.marks,
        )
        self.scored |= set(fresh)


@pytest.mark.parametrize("seed", range(3))
def test_what_came_since_is_what_has_no_score(tmp_path: Path, seed: int) -> None:
    stream = Stream(lake=Lake(str(tmp_path), "stream"), random=np.random.default_rng(seed))
    stream.come()
    ways = [stream.come, stream.score, stream.correct, stream.put_together]
    for _ in range(25):
        way = stream.random.choice(5, p=[0.3, 0.4, 0.1, 0.1, 0.1])
        [*ways, stream.lose_the_last_commit][way]()
    stream.score()


def test_a_run_reads_no_scores_and_only_the_files_that_came(tmp_path: Path) -> None:
    stream = Stream(lake=Lake(str(tmp_path), "stream"), random=np.random.default_rng(1))
    stream.come()
    found = stream.find(None)
    rows = found.rows.append_column("batch", pa.repeat(0, found.rows.num_rows))
    rows = rows.append_column("scored_from", pa.repeat(pa.scalar(START, MOMENT), rows.num_rows))
    stream.lake.append("scores", rows, writer="score", number=0, marks=found.marks)
    stream.come()
    compact(stream.lake.uri("transactions"), "as_of")
    for file in Path(stream.lake.uri("scores")).rglob("part-*.parquet"):
        file.write_bytes(b"not to be read")
    found = find_unscored(
        stream.lake,
        Snapshot(
            lake=stream.lake,
            version=stream.lake.version("transactions"),
            label_version=-1,
            columns=("transaction_id", "as_of"),
            groups=(),
            first=START,
        ),
        until=None,
        trained_as_of=START,
        alerted=0,
    )
    came = {name for name, at in list(stream.stands.items())[3:] if at >= START}
    assert set(found.rows["transaction_id"].to_pylist()) == came
