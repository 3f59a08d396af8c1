"""The tables of rows that features are computed for, numbered, with facts of their addresses."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from features.ip.addresses import FACT_NAMES
from features.sql.windows import select

TRANSACTIONS = "transactions"  # the source: its columns, and its moments in microseconds


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table to be made by a query, or to get more rows by it.

    In order of row_id where ranges of its rows are to be read.
    """

    name: str
    query: str
    in_order: bool = False
    more: bool = False


@dataclass(frozen=True, kw_only=True)
class LookUp:
    """Facts of a table's IP addresses, to be looked up: the table `<table>_addresses` to come."""

    table: str
    facts: Sequence[str]


Step = Table | LookUp


def moment(value: datetime) -> str:
    """Write a moment.

    >>> moment(datetime(2025, 1, 31, 12, tzinfo=UTC))
    "TIMESTAMP '2025-01-31 12:00:00.000000'"
    """
    return f"TIMESTAMP '{value.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}'"


def all_rows(
    name: str,
    words: Iterable[str],
    columns: Sequence[str],
    *,
    slices: Sequence[str] = ("TRUE",),
    streamed: bool = False,
) -> list[Step]:
    """Write the table of all transactions, sorted slice by slice of time, each by its condition.

    An engine that numbers rows as they stream by has sorted them at less than half the cost.
    """
    stored, facts = _stored(words, columns), _facts(words, columns)
    steps: list[Step] = [LookUp(table=TRANSACTIONS, facts=facts)] if facts else []
    looked_up = f" LEFT JOIN {TRANSACTIONS}_addresses USING (ip_address)" if facts else ""
    for place, where in enumerate(slices):
        found, behind = f"{TRANSACTIONS}{looked_up} WHERE {where}", name if place else ""
        write = _streamed if streamed else _numbered
        query = write([*stored, *facts], found, behind=behind)
        steps.append(Table(name=name, query=query, more=bool(place)))
    return steps


def some_rows(
    name: str,
    words: Iterable[str],
    columns: Sequence[str],
    *,
    where: Sequence[str],
    among: Sequence[str] = (),
    in_order: bool = True,
) -> list[Step]:
    """Write the table of transactions that meet conditions; those of `among` may be on facts."""
    stored, facts = _stored(words, columns), _facts(words, columns)
    found = f"{TRANSACTIONS} WHERE {' AND '.join(where)}"
    if not facts:
        return [Table(name=name, query=_numbered(stored, found, in_order=in_order))]
    given = f"{name}_given"
    joined = f"{given} LEFT JOIN {given}_addresses USING (ip_address)"
    kept = f" WHERE {' AND '.join(among)}" if among else ""
    return [
        Table(name=given, query=select(dict.fromkeys([*stored, "ip_address"]), found)),
        LookUp(table=given, facts=facts),
        Table(name=name, query=_numbered([*stored, *facts], joined, in_order=in_order) + kept),
    ]


def is_stored(name: str, columns: Sequence[str]) -> bool:
    """Whether a table of rows can have it: a column of transactions, or a fact of the address."""
    return name in columns or ("ip_address" in columns and name in FACT_NAMES)


def _stored(words: Iterable[str], columns: Sequence[str]) -> list[str]:
    return sorted({*words, "transaction_id", "as_of_us"} & {*columns})


def _facts(words: Iterable[str], columns: Sequence[str]) -> list[str]:
    return sorted(FACT_NAMES & {*words}) if "ip_address" in columns else []


def _streamed(columns: Iterable[str], source: str, *, behind: str = "") -> str:
    """Sort rows, and number them as they come."""
    already = f" + (SELECT count(*) FROM {behind})" if behind else ""  # noqa: S608
    ordered = f"({select(columns, source)} ORDER BY as_of_us, transaction_id) AS ordered"
    return select([f"row_number() OVER (){already} AS row_id", "*"], ordered)


def _numbered(
    columns: Iterable[str], source: str, *, in_order: bool = True, behind: str = ""
) -> str:
    """Number rows, perhaps behind those that a table has already."""
    order = "ORDER BY as_of_us, transaction_id" if in_order else ""
    already = f" + (SELECT count(*) FROM {behind})" if behind else ""  # noqa: S608
    return select([f"row_number() OVER ({order}){already} AS row_id", *columns], source)
