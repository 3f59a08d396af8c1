"""The label ledger, lake/labels: each word of a source or an analyst on a transaction, once.

A label is never changed: a later word stands beside the earlier one and reverses it from its
known_at on.
"""

from datetime import datetime, timedelta

import duckdb
import pyarrow as pa

from features.schema import LABELS
from pipeline.lake.tables import Lake
from pipeline.portfolio import Portfolio
from pipeline.portfolio_tables import Source
from pipeline.sources.delivery import count_of, literal
from pipeline.sources.known_ids import known_rows

# A word with a stated time is known by it, a word without by its verdict alone: the same row said
# again says nothing new. A change of mind that comes without a time is known from now on, and so is
# a label that comes where an earlier delivery of the row had none.
OFFERED = """
    CREATE TABLE offered AS SELECT g.transaction_id, g.is_fraud, {stated} AS stated,
        {matured} AS matured, o.outcome <> 'new' AND NOT {is_of_this_delivery} AS is_late, g.place
    FROM checked g JOIN outcome o ON o.place = g.place AND o.outcome <> 'contradicts'
    LEFT JOIN stored s ON s.transaction_id = g.transaction_id
    WHERE g.is_fraud IS NOT NULL
"""
# a transaction that came before, or twice, or whose word the ledger has while the lake lost it
HAS_WORDS = """
    SELECT count(*) FROM ((SELECT 1 FROM outcome WHERE outcome <> 'new' LIMIT 1)
        UNION ALL (SELECT 1 FROM ledger JOIN checked USING (transaction_id) LIMIT 1))
"""
FIRST_WORDS = """
    SELECT transaction_id, is_fraud, coalesce({stated}, {matured}) AS known_at, 'source' AS source
    FROM checked g WHERE faults IS NULL AND is_fraud IS NOT NULL ORDER BY place
"""
NEW_WORDS = """
    WITH words AS (
        SELECT transaction_id, is_fraud, stated, any_value(matured) AS matured,
               bool_and(is_late) AS is_late, min(place) AS place
        FROM offered GROUP BY transaction_id, is_fraud, stated
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
                WHEN is_late OR place IN (SELECT place FROM reversing)
                THEN greatest(matured, {now})
                ELSE matured END AS known_at,
           'source' AS source
    FROM fresh ORDER BY place
"""


def came_by_feed(source: Source, event_time: str) -> str:
    """SQL for whether a row came by a feed, so that it is known from its ingestion on."""
    if source.feed_since is None:
        return "true" if source.feed else "false"
    return f"{event_time} >= {literal(source.feed_since.isoformat())}::TIMESTAMPTZ"


def matured(portfolio: Portfolio, event_time: str, *, now: datetime) -> str:
    """SQL for when a label is known that came with its payment: now by a feed, else `delay` later.

    `event_time` is SQL for that of the payment.
    """
    later = f"to_microseconds({portfolio.label_delay // timedelta(microseconds=1)})"
    moment = f"{literal(now.isoformat())}::TIMESTAMPTZ"
    is_feed = came_by_feed(portfolio.source, event_time)
    return f"CASE WHEN {is_feed} THEN {moment} ELSE {event_time} + {later} END"


def keep_labels(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    *,
    has_times: bool,
    matured: str,
    now: datetime,
    delivery: int,
    writer: str,
) -> int:
    """Append what the rows of `checked` tell and the ledger has not; returns how many.

    Without a stated time a label is known when SQL `matured` says. A source that takes its word
    back twice must state the times: without them the third word reads like the first.
    """
    stated = "g.label_known_at" if has_times else "NULL::TIMESTAMPTZ"
    number, ledger = lake.next_number("labels", writer), known_rows(connection, lake, "labels")
    connection.register("ledger", LABELS.empty_table() if ledger is None else ledger)
    if count_of(connection, HAS_WORDS):
        words = _new_words(connection, stated, matured, now=now, delivery=delivery)
    else:
        words = connection.sql(FIRST_WORDS.format(stated=stated, matured=matured)).to_arrow_table()
    if words.num_rows:
        lake.append("labels", words.cast(LABELS), writer=writer, number=number)
    return int(words.num_rows)


def _new_words(
    connection: duckdb.DuckDBPyConnection,
    stated: str,
    matured: str,
    *,
    now: datetime,
    delivery: int,
) -> pa.Table:
    """What the rows tell and the ledger has not."""
    moment = f"{literal(now.isoformat())}::TIMESTAMPTZ"
    names = [name for name, *_ in connection.execute("DESCRIBE stored").fetchall()]
    own = f"coalesce(s.delivery = {delivery}, false)" if "delivery" in names else "false"
    connection.execute(
        OFFERED.format(
            stated=stated,
            matured=matured,
            is_of_this_delivery=own,
        )
    )
    return connection.sql(NEW_WORDS.format(now=moment)).to_arrow_table()
