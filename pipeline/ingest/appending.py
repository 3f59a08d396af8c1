"""What the lake gets of a checked delivery: new rows, and corrections in the place of others."""

from collections.abc import Iterator
from datetime import timedelta

import duckdb
import pyarrow as pa

from features.schema import transactions_schema
from pipeline.checks.staging import Checked
from pipeline.ingest.corrections import corrected_rows, keep_versions
from pipeline.ingest.labels import came_by_feed
from pipeline.ingest.run import WRITER, Run
from pipeline.portfolio import Portfolio
from pipeline.sources.delivery import Delivery, count_of, literal, quoted


def append_new(delivery: Delivery, checked: Checked, number: int, first: int, run: Run) -> int:
    """Append the new rows in one commit, in files of so many records; returns how many commits."""
    new = count_of(delivery.connection, "SELECT count(*) FROM outcome WHERE outcome = 'new'")
    if not new:
        return 0
    known_at = _known_at(checked, run)
    late = f"known_at > event_time + to_microseconds({run.portfolio.arrival_delay // MICROSECOND})"
    names = [name for name in checked.facts if name != "known_at"]
    schema = _schema(names, run.portfolio)
    columns = ", ".join(quoted(name) for name in names)
    query = (
        f"SELECT *, CASE WHEN {late} THEN known_at ELSE event_time END AS as_of FROM ("
        f"SELECT {columns}, {known_at} AS known_at, row_digest, {number}::BIGINT AS delivery "
        f"FROM checked g{'' if new == checked.rows else ONLY_NEW})"
    )
    parts = _in_parts(delivery.connection.sql(query), schema, run.batch_rows)
    run.lake.append_parts("transactions", parts, schema=schema, writer=WRITER, number=first)
    return 1


def _schema(names: list[str], portfolio: Portfolio) -> pa.Schema:
    schema_of_all = transactions_schema(portfolio.own_kinds(names))
    fields = [one for one in schema_of_all if one.name in {*names, *ADDED}]
    return pa.schema([*fields, ("delivery", pa.int64())])


def _in_parts(rows: duckdb.DuckDBPyRelation, schema: pa.Schema, size: int) -> Iterator[pa.Table]:
    """The rows in tables of so many; the last one has what is left."""
    batches, count = list[pa.RecordBatch](), 0
    for batch in rows.to_arrow_reader(size):
        batches.append(batch)
        count += batch.num_rows
        while count >= size:
            table = pa.Table.from_batches(batches)
            yield table.slice(0, size).select(schema.names).cast(schema)
            batches, count = table.slice(size).to_batches(), count - size
    if count:
        yield pa.Table.from_batches(batches).select(schema.names).cast(schema)


# leaves the new rows, in their order: most often all are
ONLY_NEW = " JOIN outcome o USING (place) WHERE o.outcome = 'new' ORDER BY place"
ADDED = ("known_at", "as_of", "row_digest")
MICROSECOND = timedelta(microseconds=1)


def _known_at(checked: Checked, run: Run) -> str:
    """SQL for when a row reached us: as it says, else now for a feed, else when it happened."""
    now = f"{literal(run.now.isoformat())}::TIMESTAMPTZ"
    is_feed = came_by_feed(run.portfolio.source, "event_time")
    default = f"CASE WHEN {is_feed} THEN {now} ELSE event_time END"
    return f"coalesce(g.known_at, {default})" if "known_at" in checked.kinds else default


def append_corrections(
    delivery: Delivery, checked: Checked, number: int, first: int, run: Run
) -> None:
    """Put the new versions in the place of the old ones, which are kept in `versions`."""
    found = corrected_rows(
        delivery.connection,
        run.lake,
        run.portfolio,
        columns=checked.facts,
        now=run.now,
        delivery=number,
    )
    if found is not None:
        keep_versions(run.lake, found.replaced, found.replaced_at, writer=WRITER)
        run.lake.replace(
            "transactions", found.rows, key="transaction_id", writer=WRITER, number=first
        )
