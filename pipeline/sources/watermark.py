"""The watermark of a database: its greatest value so far, at or above which rows are read.

Rows with the greatest value come again and are known; so do rows without one, so none is lost.
"""

import json
import re
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any

from sqlalchemy import Select, TextClause, bindparam, column, or_, select, text

from pipeline.portfolio import Portfolio, PortfolioError
from pipeline.sources.delivery import Delivery, count_of, first_row, numbered, quoted
from pipeline.sources.files import Taken

BOUND = re.compile(r"(?<![:\w\\]):(\w+)(?!:)")  # what SQLAlchemy would take for a parameter
KINDS: dict[str, Callable[[str], object]] = {
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "int": int,
    "float": float,
    "Decimal": Decimal,
    "str": str,
}


def rows_since(portfolio: Portfolio, deliveries: Sequence[Taken]) -> TextClause | Select[Any]:
    """The portfolio's query, of its rows those that may be new; the value is bound."""
    source = portfolio.source
    query = text(BOUND.sub(r"\\:\1", source.query))
    noted = [one.watermark for one in deliveries if one.watermark and not one.refused]
    known = json.loads(noted[-1]) if noted else {}
    if not source.watermark or known.get("of") != _of(portfolio):
        return query
    value = KINDS[known["kind"]](known["value"])
    rows = query.columns(column(source.watermark)).subquery("strata_rows")
    at = rows.c[source.watermark]
    since = or_(at >= bindparam("since", value), at.is_(None))
    return select(text("*")).select_from(rows).where(since)


def _of(portfolio: Portfolio) -> str:
    """What a value is of: another query or column has others, and is read whole."""
    source = portfolio.source
    return sha256(json.dumps([source.query, source.watermark]).encode()).hexdigest()


def greatest(delivery: Delivery, portfolio: Portfolio) -> tuple[str, str]:
    """The greatest value, as it is noted, and a doubt; each is empty where there is none.

    Raises PortfolioError where the query has no such column, or one that has no order.
    """
    name = portfolio.source.watermark
    if name not in delivery.names:
        raise PortfolioError(
            f"watermark = {name!r} in [source] of {portfolio.file} is no column of its query, "
            f"which has {', '.join(delivery.names)}; select it there, or name one of these"
        )
    mark = quoted(numbered(delivery.names.index(name)))
    (value,) = first_row(delivery.connection, f"SELECT max({mark}) FROM raw")
    empty = count_of(delivery.connection, f"SELECT count(*) - count({mark}) FROM raw")
    doubt = f"{empty:,} rows have no {name}, the watermark; they are read each time"
    if value is None:
        return "", doubt if empty else ""
    kind = type(value).__name__
    if kind not in KINDS:
        raise PortfolioError(
            f"watermark = {name!r} in [source] of {portfolio.file} is a {kind}; name a column of "
            "times, numbers or texts"
        )
    written = value.isoformat() if isinstance(value, date) else str(value)
    noted = {"of": _of(portfolio), "kind": kind, "value": written}
    return json.dumps(noted), doubt if empty else ""
