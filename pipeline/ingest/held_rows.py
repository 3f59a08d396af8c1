"""What stands in quarantine: its reasons with their numbers, its rows, and what somebody dropped.

A row with several faults counts for each of its reasons. A dropped row stays, marked by whom and
when, with a note; it is no longer counted, and is not offered to a replay.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import duckdb

from pipeline.checks.validation import ENTRY, FIELD, MISSING, TORN, Reason
from pipeline.lake.tables import Lake
from pipeline.portfolio import PortfolioError
from pipeline.sources.card_numbers import masked
from pipeline.sources.delivery import count_of, literal, quoted

WRITER = "ingest"
OPTIONAL = {  # columns that a home of a former version has not, with their DuckDB types
    "delivery": "BIGINT",
    "wait_until": "TIMESTAMPTZ",
    "faults": "VARCHAR",
    "types": "VARCHAR",
    "number_forms": "VARCHAR",
    "dropped_by": "VARCHAR",
    "dropped_at": "TIMESTAMPTZ",
    "note": "VARCHAR",
}
LISTED = 100  # of what was dropped
WAITS = "its time has not come"
# A row that was held before its faults were kept says them in its sentence.
TOLD = r"^(\w+) is ('[^']*'|[^,;]*), ([^;]*)"
FAULTS = f"""
    SELECT row_digest, quarantined_at, dropped_at, wait_until IS NOT NULL AS waits,
           split_part(one, chr({FIELD}), 1) AS name, split_part(one, chr({FIELD}), 2) AS rule,
           split_part(one, chr({FIELD}), 3) AS example
    FROM (SELECT *, unnest(string_split(faults, chr({ENTRY}))) AS one FROM held
          WHERE faults IS NOT NULL) WHERE one <> ''
    UNION ALL
    SELECT row_digest, quarantined_at, dropped_at, wait_until IS NOT NULL,
           CASE WHEN reason = '{TORN}' THEN 'line' ELSE regexp_extract(reason, '^(\\w+) is', 1) END,
           CASE WHEN regexp_matches(reason, '^\\w+ is missing') THEN '{MISSING}'
                ELSE coalesce(nullif(regexp_extract(reason, {literal(TOLD)}, 3), ''), reason) END,
           regexp_extract(reason, {literal(TOLD)}, 2)
    FROM held WHERE faults IS NULL
"""


@dataclass(frozen=True, kw_only=True)
class HeldReason:
    """One reason with its number in the list, how many rows it holds, and since when."""

    number: int
    reason: Reason
    first: datetime
    last: datetime
    waits: bool

    @property
    def sentence(self) -> str:
        """The reason in words, with an example."""
        name, value = self.reason.column, self.reason.example
        return f"{name} is {value}, {WAITS}" if self.waits else self.reason.sentence

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return "they come in once it has" if self.waits else self.reason.remedy


@dataclass(frozen=True, kw_only=True)
class HeldRow:
    """One row as it came, and why it is held; `note` and who dropped it where somebody did."""

    key: str
    reason: str
    row: str
    since: datetime
    dropped: str


@contextmanager
def open_held(lake: Lake) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the rows of quarantine in `held`, and in `entries` a fault a row."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        stored = lake.dataset("quarantine")
        names = [] if stored is None else stored.schema.names
        base = ("transaction_id", "reason", "row")
        absent = {**dict.fromkeys(base, "VARCHAR"), "row_digest": "BIGINT"}
        absent |= {"quarantined_at": "TIMESTAMPTZ", **OPTIONAL}
        added = [f"NULL::{kind} AS {name}" for name, kind in absent.items() if name not in names]
        if stored is None:
            connection.execute(f"CREATE VIEW held AS SELECT {', '.join(added)} WHERE false")
        else:
            connection.register("stored_held", stored)
            # a table: Arrow, which gets the filters of a view, compares no text of Delta's
            connection.execute(
                f"CREATE TABLE held AS SELECT {', '.join(['*', *added])} FROM stored_held"
            )
        rule = f"CASE WHEN waits THEN '{WAITS}' ELSE {timeless('rule')} END"
        connection.execute(
            f"CREATE VIEW entries AS SELECT * REPLACE ({rule} AS rule) FROM ({FAULTS})"
        )
        yield connection


def timeless(rule: str) -> str:
    """SQL for a rule without the moment it was looked at."""
    return f"regexp_replace({rule}, ' \\(now is [^)]*\\)', '')"


def find_reasons(connection: duckdb.DuckDBPyConnection, *, dropped: bool) -> list[HeldReason]:
    """The reasons, those that hold most rows first; of what was dropped, or of all else."""
    rows = connection.execute(
        "SELECT name, rule, waits, count(DISTINCT row_digest) AS rows, min(quarantined_at), "
        "max(quarantined_at), min(example) FROM entries WHERE (dropped_at IS NOT NULL) = $dropped "
        "GROUP BY name, rule, waits ORDER BY rows DESC, name, rule, waits",
        {"dropped": dropped},
    ).fetchall()
    return [
        HeldReason(
            number=place,
            reason=Reason(column=name, rule=rule, count=count, example=masked(example)),
            first=first,
            last=last,
            waits=waits,
        )
        for place, (name, rule, waits, count, first, last, example) in enumerate(rows, start=1)
    ]


def choose_rows(
    connection: duckdb.DuckDBPyConnection,
    *,
    reasons: Sequence[str] = (),
    keys: Sequence[str] = (),
    dropped: bool = False,
) -> int:
    """Put the rows of the reasons and keys into the table `chosen`, all where none is named.

    A reason is its number or a part of its sentence, a key a transaction_id or what `show` prints.
    Returns how many rows. Raises PortfolioError where one means nothing.
    """
    connection.execute("CREATE TABLE chosen (row_digest BIGINT)")
    is_asked = f"(dropped_at IS NOT NULL) = {dropped}"
    if not reasons and not keys:
        connection.execute(f"INSERT INTO chosen SELECT row_digest FROM held WHERE {is_asked}")
    found = find_reasons(connection, dropped=dropped) if reasons else []
    for one in reasons:
        for reason in _meant(one, found):
            connection.execute(
                "INSERT INTO chosen SELECT row_digest FROM entries "
                f"WHERE {is_asked} AND name = ? AND rule = ? AND waits = ?",
                [reason.reason.column, reason.reason.rule, reason.waits],
            )
    for key in keys:
        inserted = connection.execute(
            f"INSERT INTO chosen SELECT row_digest FROM held WHERE {is_asked} "
            "AND (transaction_id = $key OR lower(to_hex(row_digest)) = lower($key))",
            {"key": key},
        ).fetchall()
        if not inserted[0][0]:
            raise PortfolioError(
                f"no row in quarantine is {key!r}; strata quarantine show prints each row's"
            )
    connection.execute("CREATE OR REPLACE TABLE chosen AS SELECT DISTINCT row_digest FROM chosen")
    return count_of(connection, "SELECT count(*) FROM chosen")


def _meant(asked: str, found: Sequence[HeldReason]) -> list[HeldReason]:
    """The reasons that a number or a text means."""
    if asked.isdigit():
        meant = [one for one in found if one.number == int(asked)]
    else:
        meant = [one for one in found if asked.lower() in _label(one).lower()]
    if not meant:
        numbers = f"1 to {len(found)}" if found else "none: nothing is held"
        raise PortfolioError(
            f"no reason in quarantine is {asked!r}; strata quarantine list names them ({numbers})"
        )
    return meant


def _label(held: HeldReason) -> str:
    return f"{held.reason.column} {held.reason.rule} {held.reason.sentence}"


def find_rows(connection: duckdb.DuckDBPyConnection, *, limit: int) -> list[HeldRow]:
    """The first of the rows in `chosen`, the latest first; card numbers are masked."""
    rows = connection.execute(
        "SELECT coalesce(nullif(transaction_id, ''), lower(to_hex(row_digest))), reason, "
        '"row", quarantined_at, dropped_by, dropped_at, note FROM held JOIN chosen '
        "USING (row_digest) ORDER BY quarantined_at DESC, row_digest LIMIT $limit",
        {"limit": limit},
    ).fetchall()
    return [
        HeldRow(
            key=masked(key),
            reason=masked(reason),
            row=masked(row),
            since=since,
            dropped=f"dropped by {by} {at:%Y-%m-%d %H:%M} UTC: {note}" if at else "",
        )
        for key, reason, row, since, by, at, note in rows
    ]


def format_reasons(lake: Lake, *, dropped: bool) -> Iterator[str]:
    """What is held, or was dropped, as a terminal shows it."""
    with open_held(lake) as connection:
        which = f"(dropped_at IS NOT NULL) = {dropped}"
        rows = count_of(connection, f"SELECT count(*) FROM held WHERE {which}")
        reasons = find_reasons(connection, dropped=dropped)
        state = "dropped" if dropped else "in quarantine"
        yield f"{_rows(rows)} {state}" + (f", {len(reasons):,} reasons" if reasons else "")
        for one in reasons:
            since = f"first {_minute(one.first)}, last {_minute(one.last)}"
            yield f"{one.number:>3}  {_rows(one.reason.count)}: {one.sentence}; {since}"
            if not dropped:
                yield f"     {one.remedy}"
        if dropped:
            choose_rows(connection, dropped=True)
            for row in find_rows(connection, limit=LISTED):
                yield f"  {row.key}  {row.dropped}"


def format_rows(lake: Lake, *, reasons: Sequence[str], limit: int, dropped: bool) -> Iterator[str]:
    """The rows of the reasons as they came, each with why it is held."""
    with open_held(lake) as connection:
        count = choose_rows(connection, reasons=reasons, dropped=dropped)
        rows = find_rows(connection, limit=limit)
        for row in rows:
            yield f"{row.key}  {_minute(row.since)}  {row.reason}"
            yield f"  {row.row}"
            if row.dropped:
                yield f"  {row.dropped}"
        if count > len(rows):
            yield f"... and {count - len(rows):,} more; --limit shows them"


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def drop(
    lake: Lake,
    *,
    reasons: Sequence[str],
    keys: Sequence[str],
    by: str,
    note: str,
    now: datetime,
) -> int:
    """Mark rows as dropped; returns how many. They stay, and are not counted any more."""
    if not reasons and not keys:
        raise PortfolioError("no rows are named to be dropped; name them by --reason or --id")
    if not note.strip():
        raise PortfolioError("the note is empty; say in --note why the rows are dropped")
    number = lake.next_number("quarantine", WRITER)
    with open_held(lake) as connection:
        count = choose_rows(connection, reasons=reasons, keys=keys)
        marked = {"dropped_by": by, "dropped_at": now, "note": note}
        names = [name for name in lake.columns("quarantine") if name not in marked]
        rows = connection.sql(
            f"SELECT {', '.join(map(quoted, names))}, $dropped_by::VARCHAR AS dropped_by, "
            "$dropped_at::TIMESTAMPTZ AS dropped_at, $note::VARCHAR AS note "
            "FROM held JOIN chosen USING (row_digest)",
            params=marked,
        ).to_arrow_table()
    lake.replace("quarantine", rows, key="row_digest", writer=WRITER, number=number)
    return count
