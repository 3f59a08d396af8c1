"""Rows that failed their checks: kept whole with the reason until their transaction is taken in.

A held row is known by the digest of what the source said, and by its transaction_id where it has
one. It leaves quarantine when a transaction is newly taken in from the very same row (the portfolio
was mended, or its time has come) or under the same transaction_id (the source was mended), unless
the source still offers the failed row beside it. A row without a readable transaction_id, a
malformed line, and a row that contradicts a transaction already taken in stay as a record. So does
a row that somebody dropped; it is no longer counted.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from features.schema import ARROW_TYPES
from pipeline.checks.coercion import NumberFormat
from pipeline.checks.validation import (
    DUPLICATE,
    TORN,
    Reason,
    counted,
    entry,
    joined,
    sentence_sql,
    shown_text,
)
from pipeline.lake.tables import Lake
from pipeline.sources.delivery import (
    PLACE,
    Delivery,
    digest_sql,
    first_row,
    literal,
    numbered,
    quoted,
)

QUARANTINE = pa.schema(
    [
        ("transaction_id", pa.string()),
        ("reason", pa.string()),
        ("row", pa.string()),
        ("row_digest", pa.int64()),
        ("quarantined_at", ARROW_TYPES["time"]),
        ("delivery", pa.int64()),
        ("wait_until", ARROW_TYPES["time"]),  # of a row whose only fault is that its time comes
        ("faults", pa.string()),  # as in the table `checked`
        ("types", pa.string()),  # DuckDB's, of values that were no text, as JSON
        ("number_forms", pa.string()),  # as JSON, how the file's numbers are written: [".", ""]
    ]
)


def failed_rows(
    delivery: Delivery, forms: Mapping[str, NumberFormat], *, number: int, now: datetime
) -> None:
    """Make the table `failed`: the rows of `checked` that cannot be taken, and the torn lines.

    `forms` say how the file's numbers are written, which one row does not tell.
    """
    raw = RawRow(delivery)
    contradicts = entry("transaction_id", DUPLICATE, shown_text("g.transaction_id"), "true")
    faults = f"coalesce(g.faults, {joined([contradicts])})"
    torn = joined([entry("line", TORN, "''", "true")])
    ahead = "starts_with(split_part(g.faults, chr(31), 2), 'in the future')"
    # a clock may be ahead by hours, a year of 2031 is a mistake
    is_near = f"g.event_time <= {literal(now.isoformat())}::TIMESTAMPTZ + INTERVAL 1 DAY"
    is_alone = "len(string_split(g.faults, chr(30))) = 2"  # an entry, and the sign before it
    told = {name: [form.decimal, form.thousands] for name, form in sorted(forms.items())}
    delivery.connection.execute(
        "CREATE TABLE failed AS "
        f'SELECT g.transaction_id, {sentence_sql(faults)} AS reason, {raw.text} AS "row", '
        f"{raw.digest} AS row_digest, {literal(now.isoformat())}::TIMESTAMPTZ AS quarantined_at, "
        f"{number}::BIGINT AS delivery, "
        f"CASE WHEN {ahead} AND {is_alone} AND {is_near} THEN g.event_time END AS wait_until, "
        f"{faults} AS faults, {raw.types} AS types, "
        f"{literal(json.dumps(told))} AS number_forms, false AS is_torn, g.place "
        f"FROM checked g JOIN raw ON raw.{quoted(PLACE)} = g.place "
        "LEFT JOIN outcome o ON o.place = g.place "
        "WHERE g.faults IS NOT NULL OR o.outcome = 'contradicts' ORDER BY g.place"
    )
    if delivery.torn:
        delivery.connection.execute(
            f"INSERT INTO failed SELECT NULL, {literal(TORN)}, "
            f"json_object('line', line), {digest_sql({'line': 'line'})}, "
            f"{literal(now.isoformat())}::TIMESTAMPTZ, {number}::BIGINT, NULL, {torn}, "
            "NULL, NULL, true, 1000000000000000 + rowid FROM torn"
        )


class RawRow:
    """SQL for a row as it came: as JSON, and its digest."""

    def __init__(self, delivery: Delivery) -> None:
        columns = [f"raw.{quoted(numbered(at))}" for at in range(len(delivery.names))]
        given = list(zip(delivery.names, columns, delivery.types, strict=True))
        pairs = [f"{literal(name)}, {_json(column, kind)}" for name, column, kind in given]
        self.text = f"json_object({', '.join(pairs)})::VARCHAR"
        typed = [
            f"{literal(name)}, CASE WHEN {column} IS NOT NULL THEN {literal(kind)} END"
            for name, column, kind in given
            if kind != "VARCHAR"
        ]
        present = f"json_merge_patch('{{}}', json_object({', '.join(typed)}))"
        self.types = f"nullif({present}::VARCHAR, '{{}}')" if typed else "NULL::VARCHAR"
        texts = {name: f"CAST({_moment(column, kind)} AS VARCHAR)" for name, column, kind in given}
        self.digest = digest_sql(texts)


def _json(column: str, kind: str) -> str:
    """SQL for a value in JSON, which has no word for what is not finite."""
    if kind not in ("FLOAT", "DOUBLE"):
        return column
    return f"CASE WHEN isfinite({column}) THEN to_json({column}) ELSE to_json({column}::TEXT) END"


def _moment(column: str, kind: str) -> str:
    return f"epoch_us({column})" if kind.startswith("TIMESTAMP") else column


@dataclass(frozen=True, kw_only=True)
class HeldBack:
    """How many rows and torn lines are new in quarantine, how many of them wait, and reasons.

    The reasons, those that hit most first, are of the rows that do not wait.
    """

    number: int
    quarantined: int
    torn: int
    waiting: int
    reasons: tuple[Reason, ...]


def hold_back(
    connection: duckdb.DuckDBPyConnection, lake: Lake, *, writer: str, finished: Sequence[int]
) -> HeldBack:
    """Say what of `failed` is new in quarantine, each row once.

    What a killed run held is new to the one that finishes its delivery.
    """
    number = lake.next_number("quarantine", writer)
    held = lake.dataset("quarantine")
    connection.execute("CREATE TABLE held (row_digest BIGINT, is_told BOOLEAN)")
    if held is not None:
        connection.register("quarantine", held)
        done = ", ".join(map(str, finished))
        told = f"delivery IS NULL OR list_contains([{done}]::BIGINT[], delivery)"
        told = told if "delivery" in held.schema.names else "true"
        told = f"{told} OR NOT {is_live(held)}"
        connection.execute(
            f"INSERT INTO held SELECT row_digest, bool_or({told}) "
            "FROM quarantine GROUP BY row_digest"
        )
    connection.execute(
        "CREATE TABLE fresh AS SELECT f.*, h.row_digest IS NOT NULL AS is_held FROM failed f "
        "LEFT JOIN held h USING (row_digest) WHERE NOT coalesce(h.is_told, false) "
        "QUALIFY row_number() OVER (PARTITION BY f.row_digest ORDER BY f.place) = 1"
    )
    quarantined, torn, waiting = first_row(
        connection,
        "SELECT count(*) FILTER (NOT is_torn), count(*) FILTER (is_torn), count(wait_until) "
        "FROM fresh",
    )
    return HeldBack(
        number=number,
        quarantined=quarantined,
        torn=torn,
        waiting=waiting,
        reasons=tuple(counted(connection, "faults", table="fresh", where="wait_until IS NULL")),
    )


def is_live(held: ds.Dataset) -> str:
    """SQL for whether a row of quarantine still waits for somebody: nobody dropped it."""
    return "(dropped_at IS NULL)" if "dropped_at" in held.schema.names else "true"


def keep_failed(
    connection: duckdb.DuckDBPyConnection, lake: Lake, *, writer: str, number: int
) -> None:
    """Append the rows of `fresh` that are not held yet, by the number that `hold_back` took."""
    names = ", ".join(quoted(name) for name in QUARANTINE.names)
    rows = connection.sql(
        f"SELECT {names} FROM fresh WHERE NOT is_held ORDER BY place"
    ).to_arrow_table()
    if rows.num_rows:
        lake.append("quarantine", rows.cast(QUARANTINE), writer=writer, number=number)


def release(delivery: Delivery, lake: Lake) -> int:
    """Let go the held rows whose transaction is about to be newly taken in; returns how many.

    Not those that the source still offers as they failed. Done before the transactions are
    appended: a run killed between the two is run again, and takes in what is missing or holds again
    what fails again.
    """
    held = lake.dataset("quarantine")
    if held is None or not lake.count("quarantine"):
        return 0
    connection = delivery.connection
    taken = "SELECT place FROM outcome WHERE outcome IN ('new', 'corrected')"
    digests = f"SELECT {RawRow(delivery).digest} FROM raw WHERE raw.{quoted(PLACE)} IN ({taken})"
    names = f"SELECT transaction_id FROM checked WHERE place IN ({taken})"
    connection.register("quarantine", held)
    gone = connection.sql(
        "SELECT DISTINCT row_digest FROM quarantine "
        f"WHERE (row_digest IN ({digests}) OR transaction_id IN ({names})) "
        f"AND {is_live(held)} AND row_digest NOT IN (SELECT row_digest FROM failed)"
    ).to_arrow_table()["row_digest"]
    if len(gone):
        lake.remove("quarantine", "row_digest", gone.combine_chunks())
    return len(gone)
