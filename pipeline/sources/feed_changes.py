"""How a delivery differs from those before it: what went, what is of another type, what is short.

Nothing of it is guessed away: each difference is a sentence that a run and `strata status` say.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256

import duckdb
import pyarrow.dataset as ds

from pipeline.portfolio import Portfolio
from pipeline.sources.delivery import Delivery, first_row, literal, quoted
from pipeline.sources.files import Taken

SHORT_SHARE = 0.2  # of a day's usual rows
MIN_USUAL = 20  # rows a day, for a day to be called short
MIN_EXPECTED = 10  # values of an optional column, for none to be a change
LOOK_BACK = timedelta(days=35)
NOT_HOW_IT_IS_READ = {"path", "url", "settle", "on_change", "max_bad_share", "delay", "feed"}
FAMILIES = {
    "text": ("VARCHAR", "ENUM", "UUID", "JSON"),
    "whole number": ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "U"),
    "number": ("FLOAT", "DOUBLE", "DECIMAL"),
    "time": ("TIMESTAMP",),
}
NUMBERS = {"whole number", "number"}
# Days of the rows that are new, and of those before them; the usual of a day is the median of its
# last four weekdays, or of 28 days where there are not three of them yet.
SHORT_DAYS = """
    WITH came AS (
        SELECT event_time::DATE AS day, count(*) AS rows FROM checked
        JOIN outcome USING (place) WHERE outcome = 'new' GROUP BY day
    ), had AS ({had}), counted AS (
        SELECT day, sum(rows) AS rows FROM (FROM came UNION ALL FROM had) GROUP BY day
    ), days AS (
        SELECT day::DATE AS day, coalesce(c.rows, 0) AS rows
        FROM (SELECT unnest(generate_series(min(day), max(day), INTERVAL 1 DAY))::DATE AS day
              FROM counted) LEFT JOIN counted c USING (day)
    ), usual AS (
        SELECT *, median(rows) OVER month AS monthly, count(*) OVER month AS days_before,
               median(rows) OVER weekday AS weekly, count(*) OVER weekday AS weeks_before
        FROM days WINDOW month AS (ORDER BY day ROWS BETWEEN 28 PRECEDING AND 1 PRECEDING),
             weekday AS (PARTITION BY dayofweek(day) ORDER BY day
                         ROWS BETWEEN 4 PRECEDING AND 1 PRECEDING)
    ), judged AS (
        SELECT day, rows, CASE WHEN weeks_before >= 3 THEN weekly
                               WHEN days_before >= 7 THEN monthly END AS usual
        FROM usual WHERE (day IN (SELECT day FROM came) OR day > (SELECT max(day) FROM had))
        AND (day < (SELECT max(day) FROM counted)
             OR ((SELECT count(*) FROM came) = 1 AND day + 1 <= {now}::TIMESTAMPTZ::DATE))
    )
    SELECT count(*), min(day)::VARCHAR, arg_min(rows, day)::BIGINT, arg_min(usual, day)::BIGINT
    FROM judged WHERE usual >= {least} AND rows <= {share} * usual
"""


def mapping_digest(portfolio: Portfolio) -> str:
    """A digest of what decides how a file is read: `[columns]` and most of `[source]`."""
    source = portfolio.source.model_dump(
        mode="json", exclude=NOT_HOW_IT_IS_READ, exclude_defaults=True
    )
    values = portfolio.labels.values.model_dump(exclude_defaults=True)
    kinds = {name: str(kind) for name, kind in portfolio.extra_kinds.items()}
    said = [source, values, portfolio.columns, kinds]
    return sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def shape_of(delivery: Delivery, ours: Sequence[str]) -> str:
    """What a later delivery is compared with, as JSON: their types, and how filled ours are."""
    shares = ", ".join(f"count({quoted(name)}) / count(*)" for name in ours)
    found = first_row(delivery.connection, f"SELECT {shares} FROM checked")
    filled = {name: share or 0.0 for name, share in zip(ours, found, strict=True)}
    theirs = {
        name: _family(kind) for name, kind in zip(delivery.names, delivery.types, strict=True)
    }
    return json.dumps({"theirs": theirs, "filled": filled})


def _family(kind: str) -> str:
    """What a type holds, whatever its width.

    >>> _family("INTEGER"), _family("DECIMAL(18,3)"), _family("UUID"), _family("DATE")
    ('whole number', 'number', 'text', 'DATE')
    """
    found = (name for name, starts in FAMILIES.items() if kind.startswith(starts))
    return next(found, kind)


def changes(
    delivery: Delivery,
    shape: str,
    mapped: Mapping[str, str],
    *,
    before: Sequence[Taken],
    mapping: str,
) -> Iterator[str]:
    """What is no more as in the delivery before that was read the same way.

    `mapped` is ours = theirs or SQL over them.
    """
    if not delivery.records:
        yield "it has no rows"
        return
    known = [one for one in before if one.shape and one.mapping == mapping and one.records]
    if not known:
        return
    last, now = json.loads(known[-1].shape), json.loads(shape)
    new = [name for name in now["theirs"] if name not in last["theirs"]]
    perhaps = f" (new in it: {', '.join(new[:5])})" if new else ""
    for name, share in last["filled"].items():
        if name not in now["filled"]:
            yield f"{name}, which {known[-1].name} had, is not in it{perhaps}; nothing fills it"
        elif share * delivery.records >= MIN_EXPECTED and not now["filled"][name]:
            yield f"{name}, which {share:.0%} of the rows of {known[-1].name} had, is empty in it"
    for name, kind in now["theirs"].items():
        was = last["theirs"].get(name, kind)
        read = [ours for ours, said in mapped.items() if name in said]
        is_name = {was, kind} == NUMBERS and all(ours.endswith("_id") for ours in read)
        if was != kind and read and not is_name:  # a name is the same, whatever number it was
            yield f"{name} is {kind} in it, and was {was} in {known[-1].name}"


def short_days(
    connection: duckdb.DuckDBPyConnection, stored: ds.Dataset | None, *, now: datetime
) -> Iterator[str]:
    """Days that are over and have far fewer rows than usual, with those that are new.

    `stored` are the rows of before.
    """
    first = first_row(connection, NEW_SINCE)[0]
    if first is None:
        return
    had = "SELECT NULL::DATE AS day, 0 AS rows WHERE false"
    if stored is not None:
        connection.register("history", stored)
        since = literal((first - LOOK_BACK).isoformat())
        had = (
            "SELECT event_time::DATE AS day, count(*) AS rows FROM history "
            f"WHERE event_time >= {since}::TIMESTAMPTZ GROUP BY day"
        )
    count, day, rows, usual = first_row(
        connection,
        SHORT_DAYS.format(
            had=had, now=literal(now.isoformat()), least=MIN_USUAL, share=SHORT_SHARE
        ),
    )
    if count:
        days = "1 day has" if count == 1 else f"{count:,} days have"
        example = f"{day} with {rows:,} of {usual:,}"
        yield f"{days} less than a fifth of the usual rows, such as {example}"


NEW_SINCE = """
    SELECT min(event_time) FROM checked JOIN outcome USING (place) WHERE outcome = 'new'
"""
