"""The SQL of windows: what a key did before each row, and what stands in one of its earlier rows.

The same text runs on every engine: integer microseconds, `RANGE BETWEEN <span> PRECEDING AND 1
PRECEDING`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from features.declarations import OF_VALUES, Aggregate, Feature, microseconds
from features.sql.aggregates import windowed


def select(columns: Iterable[str], source: str) -> str:
    """Write a SELECT."""
    return f"SELECT {', '.join(columns)} FROM {source}"  # noqa: S608 - names and expressions come from declarations


def named(sql: str, name: str) -> str:
    """Write a column: an expression, and its name."""
    return f"{in_doubles(sql)} AS {name}"


def frame(key: Sequence[str], span: str) -> str:
    """Write the window `past_<span>` of a key: from the span before to one microsecond before.

    >>> frame(["account_id"], "1s").partition(" RANGE ")[2]
    'BETWEEN 1000000 PRECEDING AND 1 PRECEDING)'
    """
    before = f"RANGE BETWEEN {microseconds(span)} PRECEDING AND 1 PRECEDING"
    return f"past_{span} AS (PARTITION BY {', '.join(key)} ORDER BY as_of_us {before})"


def known(columns: Iterable[str]) -> str:
    """Write the condition that all of a key is there."""
    return " AND ".join(f"{column} IS NOT NULL" for column in columns)


def inputs(aggregates: Iterable[Aggregate]) -> list[str]:
    """The columns and features that aggregates read, beside their keys."""
    needed, keys = set[str](), set[str]()
    for aggregate in aggregates:
        needed |= aggregate.needs()
        keys |= {*aggregate.key, *aggregate.as_key}
    return sorted(needed - keys)


def in_doubles(sql: str) -> str:
    """Write numbers with a point beside an operator as doubles: some engines cut decimals off.

    >>> in_doubles("CASE WHEN kind = '- 0.5' THEN 1.0 ELSE (paid + 0.1) / 20.0 END")
    "CASE WHEN kind = '- 0.5' THEN 1.0 ELSE (paid + 0.1e0) / 20.0e0 END"
    """
    number = r"\d+\.\d+(?![\d.e])"
    operand = rf"'[^']*'|(?<=[-+*/] )({number})|({number})(?= [-+*/])"
    return re.sub(operand, lambda found: f"{found[0]}e0" if found[1] or found[2] else found[0], sql)


def window_query(rows: str, aggregates: Mapping[str, Aggregate]) -> str:
    """Write the query of aggregates that share a key, by their names, for the rows that have it."""
    one, *_ = aggregates.values()
    if one.key != one.as_key:
        aggregates = {name: _of_acting(aggregate) for name, aggregate in aggregates.items()}
    columns = [
        named(windowed(aggregate, f"past_{aggregate.span}"), name)
        for name, aggregate in aggregates.items()
    ]
    spans = dict.fromkeys(aggregate.span for aggregate in aggregates.values())
    frames = ", ".join(frame(one.key, span) for span in spans)
    if one.key == one.as_key:
        return f"{select(['row_id', *columns], rows)} WHERE {known(one.key)} WINDOW {frames}"
    stream = _stream_of_others(rows, one, inputs(aggregates.values()))
    answered = f"{select(['row_id', *columns], f'({stream}) AS stream')} WINDOW {frames}"
    return f"SELECT * FROM ({answered}) AS answered WHERE row_id IS NOT NULL"  # noqa: S608


def lookup_query(now: str, earlier: Mapping[str, str], features: Sequence[Feature]) -> str:
    """Write the query of features read from earlier rows, by look-up: where its rows lie."""
    joins = [
        f"LEFT JOIN {rows} AS of_{row} ON of_{row}.row_id = now.{row}"
        for row, rows in earlier.items()
    ]
    columns = [named(f"of_{feature.lookup}.{feature.sql}", feature.name) for feature in features]
    return select(["now.row_id", *columns], f"{now} AS now {' '.join(joins)}")


def _of_acting(aggregate: Aggregate) -> Aggregate:
    """The aggregate over a stream of others, in which the rows that ask do not count."""
    if aggregate.function == "last":
        return replace(aggregate, function="max", of="acting_id")
    if aggregate.function in OF_VALUES:
        return aggregate
    acts = "acts = 1"
    return replace(aggregate, where=f"{acts} AND ({aggregate.where})" if aggregate.where else acts)


def _stream_of_others(rows: str, shared: Aggregate, read: Iterable[str]) -> str:
    """The rows that ask, with no values, among those that have the key's values as `as_key`."""
    own = {"acts": "1", "acting_id": "row_id"}  # known of a row that acts alone
    values = [name for name in read if name not in {"row_id", "as_of_us"}]
    nulls = [f"NULL AS {name}" for name in values]
    asking = select(["row_id", "as_of_us", *shared.key, *nulls], rows)
    acting = select(["NULL", "as_of_us", *shared.as_key, *(own.get(n, n) for n in values)], rows)
    return f"{asking} WHERE {known(shared.key)} UNION ALL {acting} WHERE {known(shared.as_key)}"
