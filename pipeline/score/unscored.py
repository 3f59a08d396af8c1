"""What has no score yet: told by what came to the lake since the last run, or by all scores.

Each commit of scores says up to which version of the transactions all of them are scored. What came
since then is what is new. Where that is not to be told (rows were corrected, a table was repaired,
or the last run scored up to a moment only) all scores are read, which comes to the same.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.lake.changes import files_added, in_utc
from pipeline.lake.snapshot import Snapshot
from pipeline.lake.tables import Lake

MOMENT = pa.timestamp("us", tz="UTC")
BEGINNING, MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
COLUMNS = ["transaction_id", "as_of"]
NO_SCORES = pa.schema([("as_of", MOMENT), ("batch", pa.int64())]).empty_table()
# marks of a commit of scores: the version of the transactions of which all are scored, what its log
# entry says, from which moment on, and the version of the scores that the commit added to
VERSION, ENTRY, SINCE, SCORES = (
    f"scored-{name}" for name in ("version", "entry", "since", "after")
)


@dataclass(frozen=True, kw_only=True)
class Unscored:
    """Transactions without a score, scoring having started at `start`, and scores without alerts.

    `rows` have transaction_id and as_of, `waiting` as_of and batch; `marks` belong to the scores.
    """

    rows: pa.Table
    waiting: pa.Table
    start: datetime
    marks: dict[str, int]


def find_unscored(
    lake: Lake, snapshot: Snapshot, *, until: datetime | None, trained_as_of: datetime, alerted: int
) -> Unscored:
    """Find the transactions with as_of before `until` that have no score.

    Of the scores those wait whose batch is after the one that was `alerted` last. Scoring starts
    where the first scores say, else at `trained_as_of`.
    """
    waiting = lake.read("scores", columns=["as_of", "batch"], where=pc.field("batch") > alerted)
    start = _start(lake)
    fresh = None if start is None else _came_since(lake, snapshot, start, until)
    if start is None or fresh is None:
        start = start or _first_start(lake) or trained_as_of
        fresh = _without_score(lake, snapshot.transactions(COLUMNS, since=start, until=until))
    return Unscored(
        rows=fresh,
        waiting=NO_SCORES if waiting is None else waiting,
        start=start,
        marks=_marks(lake, snapshot, start, is_all=until is None),
    )


def _start(lake: Lake) -> datetime | None:
    """From which moment on all is scored, as the last scores say; None where they do not."""
    since = lake.written("scores", SINCE)
    return None if since < 0 else BEGINNING + since * MICROSECOND


def _first_start(lake: Lake) -> datetime | None:
    stored = lake.dataset("scores")
    first = None if stored is None else stored.head(1, columns=["scored_from"])
    if first is None or not first.num_rows:
        return None
    found: datetime = in_utc(first)["scored_from"][0].as_py()
    return found


def _came_since(
    lake: Lake, snapshot: Snapshot, start: datetime, until: datetime | None
) -> pa.Table | None:
    """The transactions that came since all were scored; None where that is not to be told."""
    after, scores = lake.written("scores", SCORES), lake.uri("scores")
    if files_added(scores, after=after, until=lake.version("scores")) is None:  # some were lost
        return None
    version, mark = (lake.written("scores", name) for name in (VERSION, ENTRY))
    rows = lake.added_since("transactions", version, until=snapshot.version, mark=mark)
    if rows is None:
        return None
    where = pc.field("as_of") >= pa.scalar(start, MOMENT)
    if until is not None:
        where = where & (pc.field("as_of") < pa.scalar(until, MOMENT))
    return in_utc(rows.to_table(columns=COLUMNS, filter=where))


def _without_score(lake: Lake, rows: pa.Table) -> pa.Table:
    """Those of the transactions that have no score.

    Late rows stand where they arrived, so they are never missed.
    """
    scored = lake.read("scores", columns=["transaction_id"])
    if scored is None:
        return rows
    known = scored["transaction_id"].combine_chunks()
    return rows.filter(~pc.is_in(pc.field("transaction_id"), known))


def _marks(lake: Lake, snapshot: Snapshot, start: datetime, *, is_all: bool) -> dict[str, int]:
    """What the next commit of scores is to say; nothing is known after a run up to a moment."""
    version = snapshot.version
    entry = lake.mark("transactions", version)
    if not is_all or entry < 0:
        return {VERSION: -1, ENTRY: -1, SINCE: -1, SCORES: -1}
    since = (start - BEGINNING) // MICROSECOND
    return {VERSION: version, ENTRY: entry, SINCE: since, SCORES: lake.version("scores")}
