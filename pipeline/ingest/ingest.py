"""Rows in: each source row ends in one of transactions or quarantine, however often it comes.

A row is known by its transaction_id and the digest of what it says. Said again, it changes nothing;
saying something else under a known id, it goes to quarantine. Batches are appended one commit each,
so a killed run is simply run again.
"""

from dataclasses import dataclass, field
from datetime import datetime

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from features.schema import ARROW_TYPES, BY_NAME, REQUIRED, Kind, SchemaError, transactions_schema
from pipeline.ingest.coercion import check_type, convert
from pipeline.ingest.labels import keep_labels
from pipeline.ingest.quarantine import as_quarantine_rows, quarantine_rows, release
from pipeline.ingest.readers import BATCH_ROWS, source_batches
from pipeline.ingest.row_digest import row_digests
from pipeline.ingest.validation import failures
from pipeline.lake.tables import Lake
from pipeline.portfolio import Portfolio
from pipeline.progress import SILENT, Progress

WRITER = "ingest"
LABEL_NAMES = ("is_fraud", "label_known_at")

# Of each row: is its transaction new, known (said before, in the lake or further up), or does it
# contradict what was said?
ROW_STATUS = """
    SELECT CASE WHEN s.row_digest IS NULL AND g.copy = 1 THEN 'new'
                WHEN g.row_digest = coalesce(s.row_digest, g.first_digest) THEN 'known'
                ELSE 'contradicts' END AS row_status
    FROM (SELECT *, row_number() OVER same AS copy,
                 first_value(row_digest) OVER same AS first_digest
          FROM good WINDOW same AS (PARTITION BY transaction_id ORDER BY place)) g
    LEFT JOIN stored s USING (transaction_id) ORDER BY g.place
"""


@dataclass(frozen=True, kw_only=True)
class Ingested:
    """What became of the rows: read = taken + known + quarantined; `examples` are reasons."""

    read: int = 0
    taken: int = 0
    known: int = 0
    quarantined: int = 0
    labels: int = 0
    examples: tuple[str, ...] = ()

    def __add__(self, other: "Ingested") -> "Ingested":
        return Ingested(
            read=self.read + other.read,
            taken=self.taken + other.taken,
            known=self.known + other.known,
            quarantined=self.quarantined + other.quarantined,
            labels=self.labels + other.labels,
            examples=(*self.examples, *other.examples)[:3],
        )


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One pass over a source; `offered` are the digests of the failed rows met so far."""

    portfolio: Portfolio
    lake: Lake
    now: datetime
    offered: set[int] = field(default_factory=set)


def ingest(
    portfolio: Portfolio,
    lake: Lake,
    *,
    now: datetime,
    progress: Progress = SILENT,
    batch_rows: int = BATCH_ROWS,
) -> Ingested:
    """Take in what the portfolio's source has and the lake has not.

    `now` is the moment of ingestion (UTC): nothing may have happened after it. Raises
    PortfolioError when the source cannot be read, SchemaError when it lacks a required column,
    LakeBusyError when another process is writing.
    """
    reading, total = Reading(portfolio=portfolio, lake=lake, now=now), Ingested()
    with progress.step(f"reading {portfolio.name}") as step:
        for batch in source_batches(portfolio, rows=batch_rows):
            taken = _ingest_rows(batch.rows, reading)
            taken += _quarantine_malformed(batch.malformed, reading)
            step.advance(taken.read)
            total += taken
    return total


def mapped_columns(portfolio: Portfolio, found: list[str]) -> dict[str, str]:
    """Return theirs -> ours for the source's columns.

    Raises SchemaError when a mapped or required one is not there.
    """
    absent = [theirs for theirs in portfolio.columns if theirs not in found]
    if absent:
        mapped = f"[columns] of {portfolio.file} maps {absent[0]!r}"
        raise SchemaError(f"{mapped}, which the source lacks; it has {', '.join(found)}")
    given = set(portfolio.columns.values())
    own = {
        name: name
        for name in found
        if (name in BY_NAME or name in portfolio.extra) and name not in given
    }
    mapping = own | portfolio.columns
    if missing := [name for name in (*REQUIRED, *portfolio.extra) if name not in mapping.values()]:
        lacks = f"the source of {portfolio.name} lacks {', '.join(missing)}"
        remedy = f"map them in [columns] of {portfolio.file}"
        raise SchemaError(f"{lacks}; it has {', '.join(found)}; {remedy}")
    return mapping


def _ingest_rows(raw: pa.Table, reading: Reading) -> Ingested:
    """Take in one batch.

    A run killed between two of the appends is completed by the next: each looks at its own table.
    """
    portfolio, lake = reading.portfolio, reading.lake
    values, rows, kinds = _converted(raw, portfolio)
    number = lake.version("transactions") + 1
    reasons = failures(values, rows, kinds=kinds, now=reading.now)
    places = _other_rows(rows.num_rows, reasons)
    good = rows.take(places)
    row_status = _row_status(good, lake)
    reasons = pd.concat(
        [reasons, _contradictions(rows, places.filter(pc.equal(row_status, "contradicts")))]
    )
    is_new = pc.equal(row_status, "new")
    new = good.filter(is_new)

    held = _quarantine(raw, rows["transaction_id"], reasons, reading)
    if new.num_rows:
        if lake.count("quarantine"):
            digests = row_digests(raw.take(places.filter(is_new)))
            release(
                lake,
                transaction_ids=new["transaction_id"],
                digests=digests,
                offered=reading.offered,
            )
        lake.append(
            "transactions",
            _as_transactions(new, portfolio, reading.now),
            writer=WRITER,
            number=number,
        )
    delay = None if portfolio.source.feed else portfolio.label_delay
    consistent = good.filter(pc.not_equal(row_status, "contradicts"))
    labels = keep_labels(consistent, lake, writer=WRITER, delay=delay, now=reading.now)
    return _became(raw.num_rows, held, taken=new.num_rows, labels=labels)


def _became(read: int, held: pa.Table, *, taken: int = 0, labels: int = 0) -> Ingested:
    count, examples = held.num_rows, tuple(held["reason"][:3].to_pylist())
    return Ingested(
        read=read,
        taken=taken,
        known=read - taken - count,
        quarantined=count,
        labels=labels,
        examples=examples,
    )


def _other_rows(count: int, reasons: pd.Series) -> pa.Array:
    """The places of the rows that have no reason to fail."""
    return pa.array(
        np.setdiff1d(np.arange(count), reasons.index.to_numpy(dtype="int64"), assume_unique=True)
    )


def _converted(
    raw: pa.Table, portfolio: Portfolio
) -> tuple[dict[str, pa.ChunkedArray], pa.Table, dict[str, Kind]]:
    """The source's values by our names, the same in our types with digests, and those types."""
    mapping = mapped_columns(portfolio, raw.column_names)
    own: dict[str, Kind] = {column.name: column.kind for column in BY_NAME.values()}
    known = own | portfolio.extra_kinds
    kinds = {ours: known[ours] for ours in mapping.values()}
    for theirs in mapping:
        check_type(theirs, raw.schema.field(theirs).type)
    values = {ours: raw[theirs] for theirs, ours in mapping.items()}
    rows = pa.table({name: convert(column, kinds[name]) for name, column in values.items()})
    facts = rows.select([name for name in kinds if name not in LABEL_NAMES])
    return values, rows.append_column("row_digest", row_digests(facts)), kinds


def _row_status(good: pa.Table, lake: Lake) -> pa.ChunkedArray:
    """Say of each row whether it is new, known, or contradicts a row of its transaction_id."""
    stored = lake.read("transactions", columns=["transaction_id", "row_digest"])
    rows = good.select(["transaction_id", "row_digest"]).append_column(
        "place", pa.array(range(good.num_rows))
    )
    with duckdb.connect() as connection:
        connection.register("good", rows)
        connection.register("stored", rows.slice(0, 0) if stored is None else stored)
        return connection.sql(ROW_STATUS).to_arrow_table()["row_status"]


def _contradictions(rows: pa.Table, places: pa.Array) -> pd.Series:
    names = rows["transaction_id"].take(places).to_pylist()
    reasons = [
        f"transaction_id is {name!r}, a duplicate of a row that says something else"
        for name in names
    ]
    return pd.Series(reasons, index=places.to_numpy().astype("int64"), dtype="object")


def _as_transactions(good: pa.Table, portfolio: Portfolio, now: datetime) -> pa.Table:
    """Complete the rows: known_at, and as_of, where each stands in history.

    Columns that the source has not stay out of the lake.
    """
    event_time = good["event_time"]
    known_at = _known_at(good, portfolio, now)
    late = pc.greater(
        pc.subtract(known_at, event_time), pa.scalar(portfolio.arrival_delay, pa.duration("us"))
    )
    columns = {name: good[name] for name in good.column_names if name not in LABEL_NAMES}
    columns |= {"known_at": known_at, "as_of": pc.if_else(late, known_at, event_time)}
    schema = pa.schema(
        [field for field in transactions_schema(portfolio.extra_kinds) if field.name in columns]
    )
    return pa.table([columns[name] for name in schema.names], schema=schema)


def _known_at(rows: pa.Table, portfolio: Portfolio, now: datetime) -> pa.ChunkedArray:
    if "known_at" in rows.column_names:
        return pc.coalesce(rows["known_at"], rows["event_time"])
    if portfolio.source.feed:
        return pa.chunked_array([pa.repeat(pa.scalar(now, ARROW_TYPES["time"]), rows.num_rows)])
    return rows["event_time"]


def _quarantine(
    raw: pa.Table, transaction_ids: pa.ChunkedArray, reasons: pd.Series, reading: Reading
) -> pa.Table:
    """Put the failed rows into quarantine and note that the source offers them.

    Returns those that were not held yet.
    """
    digests = row_digests(raw.take(pa.array(reasons.index.to_numpy(dtype="int64"))))
    reading.offered.update(digests.to_pylist())
    rows = as_quarantine_rows(raw, transaction_ids, reasons, digests, now=reading.now)
    return quarantine_rows(rows, reading.lake, writer=WRITER)


def _quarantine_malformed(lines: tuple[str, ...], reading: Reading) -> Ingested:
    raw = pa.table({"line": pa.array(lines, pa.string())})
    reasons = pd.Series(
        "the line has too few or too many fields", index=range(len(lines)), dtype="object"
    )
    held = _quarantine(raw, pa.chunked_array([pa.nulls(len(lines), pa.string())]), reasons, reading)
    return _became(len(lines), held)
