"""Rows that failed their checks: kept whole with the reason until their transaction is taken in.

A held row is known by the digest of what the source said, and by its transaction_id where it has
one. It leaves quarantine when a transaction is newly taken in from the very same row (the portfolio
was mended, or its time has come) or under the same transaction_id (the source was mended), unless
the source still offers the failed row beside it. A row without a readable transaction_id, a
malformed line, and a row that contradicts a transaction already taken in stay as a record.
"""

import json
from datetime import datetime

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from features.schema import ARROW_TYPES
from pipeline.lake.tables import Lake

QUARANTINE = pa.schema(
    [
        ("transaction_id", pa.string()),
        ("reason", pa.string()),
        ("row", pa.string()),
        ("row_digest", pa.int64()),
        ("quarantined_at", ARROW_TYPES["time"]),
    ]
)


def quarantine_rows(rows: pa.Table, lake: Lake, *, writer: str) -> pa.Table:
    """Keep the failed rows that are not held yet, each once; returns those."""
    number = lake.version("quarantine") + 1
    held = lake.read("quarantine", columns=["row_digest"])
    fresh = ~rows["row_digest"].to_pandas().duplicated()
    if held is not None:
        fresh &= ~pc.is_in(rows["row_digest"], held["row_digest"].combine_chunks()).to_pandas()
    rows = rows.filter(pa.array(fresh))
    if rows.num_rows:
        lake.append("quarantine", rows, writer=writer, number=number)
    return rows


def as_quarantine_rows(
    raw: pa.Table,
    transaction_ids: pa.ChunkedArray,
    reasons: pd.Series,
    digests: pa.Array,
    *,
    now: datetime,
) -> pa.Table:
    """Return the failed rows (those with a reason, in its order) as they came, as JSON."""
    places = pa.array(reasons.index.to_numpy())
    rows = raw.take(places).to_pylist()
    text = [json.dumps(row, default=str, ensure_ascii=False) for row in rows]
    return pa.table(
        [
            transaction_ids.take(places),
            reasons.tolist(),
            text,
            digests,
            pa.array([now] * len(reasons), ARROW_TYPES["time"]),
        ],
        schema=QUARANTINE,
    )


def release(
    lake: Lake, *, transaction_ids: pa.ChunkedArray, digests: pa.Array, offered: set[int]
) -> int:
    """Let go the held rows whose transaction is about to be newly taken in; returns how many.

    `offered` are the digests of failed rows that the source still has. Done before the transactions
    are appended: a run killed between the two is run again, and takes in what is missing or holds
    again what fails again.
    """
    held = lake.read("quarantine", columns=["transaction_id", "row_digest"])
    if held is None or not held.num_rows:
        return 0
    taken = pc.or_(
        pc.is_in(held["transaction_id"], transaction_ids.combine_chunks(), skip_nulls=True),
        pc.is_in(held["row_digest"], digests),
    )
    still_offered = pc.is_in(held["row_digest"], pa.array(list(offered), pa.int64()))
    gone = held["row_digest"].filter(pc.and_not(taken, still_offered))
    if len(gone):
        lake.remove("quarantine", "row_digest", gone.combine_chunks())
    return len(gone)
