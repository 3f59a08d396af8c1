"""The SQL of windows: what a key did before each row, and what stands in one of its earlier rows.

The same text runs on every engine: integer microseconds, `RANGE BETWEEN <span> PRECEDING AND 1
PRECEDING`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from features.declarations import PAST, Feature, microseconds


def select(columns: Iterable[str], source: str) -> str:
    """Write a SELECT."""
    return f"SELECT {', '.join(columns)} FROM {source}"  # noqa: S608 - names and expressions come from declarations


def frame(key: Sequence[str], span: str) -> str:
    """Write the window `past_<span>` of a key: from the span before to one microsecond before.

    >>> frame(["account_id"], "1s")
    'past_1s AS (PARTITION BY account_id ORDER BY as_of_us RANGE BETWEEN 1000000 PRECEDING AND 1 PRECEDING)'
    """
    before = f"RANGE BETWEEN {microseconds(span)} PRECEDING AND 1 PRECEDING"
    return f"past_{span} AS (PARTITION BY {', '.join(key)} ORDER BY as_of_us {before})"


def known(columns: Iterable[str]) -> str:
    """Write the condition that all of a key is there."""
    return " AND ".join(f"{column} IS NOT NULL" for column in columns)


def inputs(features: Iterable[Feature]) -> list[str]:
    """The columns and features that the aggregates of windows read, beside their keys."""
    features = list(features)
    return sorted(
        set().union(*(feature.needs() for feature in features))
        - {*features[0].key, *features[0].of}
    )


def in_doubles(sql: str) -> str:
    """Write numbers with a point that stand beside an operator as doubles, as engines with decimals would cut off what follows.

    >>> in_doubles("CASE WHEN kind = '- 0.5' THEN 1.0 ELSE (paid + 0.1) / 20.0 END")
    "CASE WHEN kind = '- 0.5' THEN 1.0 ELSE (paid + 0.1e0) / 20.0e0 END"
    """
    number = r"\d+\.\d+(?![\d.e])"
    beside = rf"'[^']*'|(?<=[-+*/] )({number})|({number})(?= [-+*/])"
    return re.sub(beside, lambda found: f"{found[0]}e0" if found[1] or found[2] else found[0], sql)


def window_query(rows: str, features: Sequence[Feature]) -> str:
    """Write the query of features that share a key, for the rows that have it."""
    key, of = features[0].key, features[0].of
    columns = [
        f"{feature.sql.replace(PAST, f'OVER past_{feature.span}')} AS {feature.name}"
        for feature in features
    ]
    frames = ", ".join(
        frame(key, span) for span in dict.fromkeys(feature.span for feature in features)
    )
    if key == of:
        return f"{select(['row_id', *columns], rows)} WHERE {known(key)} WINDOW {frames}"
    read = [name for name in inputs(features) if name not in {"row_id", "as_of_us"}]
    asking = select(["row_id", "as_of_us", *key, *(f"NULL AS {name}" for name in read)], rows)
    acting = select(["NULL", "as_of_us", *of, *read], rows)
    stream = f"{asking} WHERE {known(key)} UNION ALL {acting} WHERE {known(of)}"
    answered = f"{select(['row_id', *columns], f'({stream}) AS stream')} WINDOW {frames}"
    return f"SELECT * FROM ({answered}) AS answered WHERE row_id IS NOT NULL"  # noqa: S608


def lookup_query(now: str, earlier: Mapping[str, str], features: Sequence[Feature]) -> str:
    """Write the query of features that are read from earlier rows: by the name of each look-up, where these rows lie."""
    joins = [
        f"LEFT JOIN {rows} AS of_{row} ON of_{row}.row_id = now.{row}"
        for row, rows in earlier.items()
    ]
    columns = [f"of_{feature.lookup}.{feature.sql} AS {feature.name}" for feature in features]
    return select(["now.row_id", *columns], f"{now} AS now {' '.join(joins)}")
