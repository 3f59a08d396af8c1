"""What a row says, and whether it was said before: new, known, corrected, or contradicting.

A row is known by its transaction_id and the digest of what it says. A row that comes again and says
something else in a column that both deliveries have is a correction: its new version stands where
the old one stood in history, and the old one goes to the table `versions`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from pipeline.lake.changes import in_utc
from pipeline.lake.tables import Lake
from pipeline.portfolio import Portfolio
from pipeline.sources.delivery import count_of, first_row, quoted
from pipeline.sources.files import Taken
from pipeline.sources.known_ids import known_rows

# Of each good row: its transaction is new, known (said before, in the lake or further up), differs
# from what the lake has, or contradicts what its own delivery says of the same transaction.
OUTCOME = """
    CREATE TABLE outcome AS SELECT place, CASE
        WHEN row_digest = stored_digest THEN 'known'
        WHEN has_same THEN 'contradicts'
        WHEN copy = 1 THEN CASE WHEN stored_digest IS NULL THEN 'new' ELSE 'differs' END
        WHEN row_digest = first_digest THEN 'known'
        ELSE 'contradicts' END AS outcome
    FROM (SELECT g.place, g.row_digest, s.row_digest AS stored_digest,
                 row_number() OVER same AS copy,
                 first_value(g.row_digest) OVER same AS first_digest,
                 coalesce(bool_or(g.row_digest = s.row_digest) OVER (PARTITION BY g.transaction_id),
                          false) AS has_same
          FROM checked g LEFT JOIN stored s USING (transaction_id) WHERE g.faults IS NULL
          WINDOW same AS (PARTITION BY g.transaction_id ORDER BY g.place))
"""
HAS_NO_COPIES = """
    SELECT count(DISTINCT transaction_id) = count(*) FROM checked WHERE faults IS NULL
"""
ALL_NEW = "CREATE TABLE outcome AS SELECT place, 'new' AS outcome FROM checked WHERE faults IS NULL"
ONLY_IN = "list_contains([{}]::BIGINT[], s.delivery)"


def find_outcomes(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    portfolio: Portfolio,
    *,
    columns: Sequence[str],
    deliveries: Sequence[Taken],
    is_read_again: bool = False,
    is_dry: bool = False,
) -> None:
    """Make the table `outcome`: what each good row of `checked` is to the lake.

    Where a source that was taken is read again, a column that was not read before completes its
    rows: that contradicts nothing, and is as known as the rest of them.
    """
    stored = known_rows(connection, lake, "transactions", time="event_time", is_dry=is_dry)
    if stored is None:
        connection.execute("CREATE TABLE stored (transaction_id VARCHAR, row_digest BIGINT)")
        connection.execute(ALL_NEW if first_row(connection, HAS_NO_COPIES)[0] else OUTCOME)
        return
    connection.register("stored", stored)
    connection.execute(OUTCOME)
    different = "SELECT count(*) FROM outcome WHERE outcome = 'differs'"
    if count_of(connection, different):
        _tell_corrections(
            connection,
            stored,
            portfolio,
            columns=columns,
            deliveries=deliveries,
            is_read_again=is_read_again,
        )


def _tell_corrections(
    connection: duckdb.DuckDBPyConnection,
    stored: ds.Dataset | pa.Table,
    portfolio: Portfolio,
    *,
    columns: Sequence[str],
    deliveries: Sequence[Taken],
    is_read_again: bool,
) -> None:
    """Say of rows that differ whether they do so in a column that both deliveries have."""
    names = stored.schema.names
    both = [name for name in columns if name in names]
    differences = [
        f"(g.{quoted(name)} IS DISTINCT FROM s.{quoted(name)} AND {_had(name, names, deliveries)})"
        for name in both
    ]
    becomes = {"correct": "corrected", "keep": "known", "refuse": "contradicts"}
    outcome = becomes[portfolio.source.on_change]
    is_older = "g.known_at < s.known_at" if "known_at" in columns else "false"
    is_completed = "false"
    if is_read_again:
        is_completed = " OR ".join(_is_completed(name, names, deliveries) for name in columns)
    connection.execute(
        "CREATE TABLE told AS SELECT g.place, "
        f"CASE WHEN ({' OR '.join(differences)}) AND NOT coalesce({is_older}, false) "
        f"THEN '{outcome}' WHEN {is_completed} THEN 'completed' ELSE 'known' END AS outcome "
        "FROM checked g "
        "JOIN outcome o ON o.place = g.place AND o.outcome = 'differs' "
        "JOIN stored s ON s.transaction_id = g.transaction_id"
    )
    connection.execute(
        "UPDATE outcome SET outcome = told.outcome FROM told WHERE told.place = outcome.place"
    )


def _is_completed(name: str, stored: Sequence[str], deliveries: Sequence[Taken]) -> str:
    """SQL for whether a row gets a value of a column that its delivery was not read for before."""
    if name not in stored:
        return f"g.{quoted(name)} IS NOT NULL"
    is_new = f"g.{quoted(name)} IS NOT NULL AND s.{quoted(name)} IS NULL"
    return f"({is_new} AND NOT {_had(name, stored, deliveries)})"


def _had(name: str, stored: Sequence[str], deliveries: Sequence[Taken]) -> str:
    """SQL for whether the delivery of a stored row had the column."""
    without = [one.delivery for one in deliveries if name not in one.columns and not one.refused]
    if "delivery" not in stored or not without:
        return "true"
    return f"NOT coalesce({ONLY_IN.format(', '.join(map(str, without)))}, false)"


IS_CORRECTED = "strata:is_corrected"


@dataclass(frozen=True, kw_only=True)
class Changed:
    """Rows as they are from now on, and the versions that corrections replace, each with when."""

    rows: pa.Table
    replaced: pa.Table
    replaced_at: pa.ChunkedArray


def corrected_rows(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    portfolio: Portfolio,
    *,
    columns: Sequence[str],
    now: datetime,
    delivery: int,
) -> Changed | None:
    """The rows that are corrected or completed; None where there is none.

    A column that the delivery has not keeps its value. The place in history stays, unless the
    event_time is another.
    """
    stored = lake.dataset("transactions")
    if stored is None:
        return None
    changed = "SELECT place, outcome FROM outcome WHERE outcome IN ('corrected', 'completed')"
    if not count_of(connection, f"SELECT count(*) FROM ({changed})"):
        return None
    join = (
        f"FROM checked g JOIN ({changed}) o USING (place) "
        "JOIN stored s USING (transaction_id) ORDER BY place"
    )
    old = in_utc(connection.sql(f"SELECT s.* {join}").to_arrow_table())
    names = [*old.column_names, *(name for name in columns if name not in old.column_names)]
    known = "g.known_at" if "known_at" in columns else "NULL::TIMESTAMPTZ"
    at = f"greatest(coalesce({known}, $now::TIMESTAMPTZ), s.known_at)"
    before = "s.corrected_at" if "corrected_at" in old.column_names else "NULL::TIMESTAMPTZ"
    own = {
        "known_at": "CASE WHEN s.known_at = s.event_time THEN g.event_time "
        "ELSE greatest(s.known_at, g.event_time) END",
        "as_of": _place_in_history(portfolio),
        "corrected_at": f"CASE WHEN o.outcome = 'corrected' THEN {at} ELSE {before} END",
        "row_digest": "g.row_digest",
        "delivery": f"{delivery}::BIGINT",
    }
    picked = []
    for name in dict.fromkeys([*names, "corrected_at", "delivery"]):
        value = f"g.{quoted(name)}" if name in columns else f"s.{quoted(name)}"
        picked.append(f"{own.get(name, value)} AS {quoted(name)}")
    picked.append(f"o.outcome = 'corrected' AS {quoted(IS_CORRECTED)}")
    found = connection.sql(f"SELECT {', '.join(picked)} {join}", params={"now": now})
    new = in_utc(found.to_arrow_table())
    replaced = new[IS_CORRECTED]
    return Changed(
        replaced=old.filter(replaced),
        replaced_at=new["corrected_at"].filter(replaced),
        rows=new.drop_columns(IS_CORRECTED),
    )


def _place_in_history(portfolio: Portfolio) -> str:
    delay = f"INTERVAL {int(portfolio.arrival_delay.total_seconds() * 1_000_000)} MICROSECONDS"
    known = "CASE WHEN s.known_at = s.event_time THEN g.event_time ELSE s.known_at END"
    return (
        "CASE WHEN g.event_time = s.event_time THEN s.as_of "
        f"WHEN {known} > g.event_time + {delay} THEN {known} ELSE g.event_time END"
    )


def keep_versions(lake: Lake, old: pa.Table, replaced_at: pa.ChunkedArray, *, writer: str) -> None:
    """Keep the versions that corrections replace, each once, with when it was replaced."""
    rows = old.append_column("replaced_at", replaced_at)
    number = lake.next_number("versions", writer)
    kept = lake.read("versions", columns=list(VERSION_KEY))
    if kept is not None:
        rows = rows.join(kept, keys=list(VERSION_KEY), join_type="left anti")
    if rows.num_rows:
        lake.append("versions", rows, writer=writer, number=number)


VERSION_KEY = ("transaction_id", "row_digest", "replaced_at")
