"""The label ledger, lake/labels: each word of a source or an analyst on a transaction, once.

A label is never changed: a later word stands beside the earlier one and reverses it from its
known_at on.
"""

from datetime import datetime, timedelta

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from features.schema import ARROW_TYPES, LABELS
from pipeline.lake.tables import Lake

# A word with a stated time is known by it, a word without by its verdict alone: the same row said
# again says nothing new.
# A change of mind that comes without a time is known from now on.
NEW_WORDS = """
    WITH words AS (
        SELECT transaction_id, is_fraud, label_known_at AS stated, matured, min(place) AS place
        FROM offered WHERE is_fraud IS NOT NULL GROUP BY ALL
    ), fresh AS (
        SELECT * FROM words w WHERE NOT EXISTS (
            SELECT 1 FROM ledger l
            WHERE l.source = 'source' AND l.transaction_id = w.transaction_id
            AND l.is_fraud = w.is_fraud AND (w.stated IS NULL OR l.known_at = w.stated))
    ), reversing AS (
        SELECT f.place FROM fresh f JOIN ledger l
            ON l.transaction_id = f.transaction_id AND l.is_fraud <> f.is_fraud
            AND l.source = 'source'
        UNION
        SELECT f.place FROM fresh f JOIN fresh o
            ON o.transaction_id = f.transaction_id AND o.is_fraud <> f.is_fraud
            AND o.place < f.place
    )
    SELECT transaction_id, is_fraud,
           CASE WHEN stated IS NOT NULL THEN stated
                WHEN place IN (SELECT place FROM reversing) THEN greatest(matured, $now)
                ELSE matured END AS known_at,
           'source' AS source
    FROM fresh ORDER BY place
"""


def keep_labels(
    rows: pa.Table, lake: Lake, *, writer: str, delay: timedelta | None, now: datetime
) -> int:
    """Append what the source's rows tell and the ledger has not; returns how many.

    `rows` have transaction_id, event_time, is_fraud and perhaps label_known_at. Without the latter
    a label is known `delay` after its transaction, or now where there is no delay (a feed). A
    source that takes its word back twice must state the times: without them the third word reads
    like the first.
    """
    if "is_fraud" not in rows.column_names or not rows.num_rows:
        return 0
    number = lake.version("labels") + 1
    ledger = lake.read("labels")
    labels = _new_words(rows, LABELS.empty_table() if ledger is None else ledger, delay, now)
    if labels.num_rows:
        lake.append("labels", labels, writer=writer, number=number)
    return int(labels.num_rows)


def _new_words(
    rows: pa.Table, ledger: pa.Table, delay: timedelta | None, now: datetime
) -> pa.Table:
    moment = pa.scalar(now, ARROW_TYPES["time"])
    matured = (
        pc.add(rows["event_time"], pa.scalar(delay, pa.duration("us")))
        if delay is not None
        else pa.repeat(moment, rows.num_rows)
    )
    stated = (
        rows["label_known_at"]
        if "label_known_at" in rows.column_names
        else pa.nulls(rows.num_rows, ARROW_TYPES["time"])
    )
    offered = pa.table(
        {
            "transaction_id": rows["transaction_id"],
            "is_fraud": rows["is_fraud"],
            "label_known_at": stated,
            "matured": matured,
            "place": pa.array(range(rows.num_rows)),
        }
    )
    with duckdb.connect() as connection:
        connection.register("offered", offered)
        connection.register("ledger", ledger)
        return connection.sql(NEW_WORDS, params={"now": now}).to_arrow_table().cast(LABELS)
