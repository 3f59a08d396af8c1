"""The tables of rows that features are computed for: numbered in order of as_of, with the facts of their IP addresses."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from features.addresses import FACT_NAMES
from features.frames import select

TRANSACTIONS = "transactions"  # the source: its columns, and its moments in microseconds


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table to be made by a query."""

    name: str
    query: str


@dataclass(frozen=True, kw_only=True)
class LookUp:
    """The IP addresses of a table, to be looked up: their facts become the table `<table>_addresses`."""

    table: str


Step = Table | LookUp


def moment(value: datetime) -> str:
    """Write a moment.

    >>> moment(datetime(2025, 1, 31, 12, tzinfo=UTC))
    "TIMESTAMP '2025-01-31 12:00:00.000000'"
    """
    return f"TIMESTAMP '{value.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}'"


def all_rows(name: str, words: Iterable[str], columns: Sequence[str]) -> list[Step]:
    """Write the table of all transactions."""
    stored, facts = _stored(words, columns), _facts(words, columns)
    if not facts:
        return [Table(name=name, query=_numbered(stored, TRANSACTIONS))]
    joined = f"{TRANSACTIONS} LEFT JOIN {TRANSACTIONS}_addresses USING (ip_address)"
    return [LookUp(table=TRANSACTIONS), Table(name=name, query=_numbered([*stored, *facts], joined))]


def some_rows(
    name: str,
    words: Iterable[str],
    columns: Sequence[str],
    *,
    where: Sequence[str],
    among: Sequence[str] = (),
    in_order: bool = True,
) -> list[Step]:
    """Write the table of the transactions that meet conditions, and `among` these others on the facts of their addresses."""
    stored, facts = _stored(words, columns), _facts(words, columns)
    found = f"{TRANSACTIONS} WHERE {' AND '.join(where)}"
    if not facts:
        return [Table(name=name, query=_numbered(stored, found, in_order=in_order))]
    given = f"{name}_given"
    joined = f"{given} LEFT JOIN {given}_addresses USING (ip_address)"
    kept = f" WHERE {' AND '.join(among)}" if among else ""
    return [
        Table(name=given, query=select(dict.fromkeys([*stored, "ip_address"]), found)),
        LookUp(table=given),
        Table(name=name, query=_numbered([*stored, *facts], joined, in_order=in_order) + kept),
    ]


def is_stored(name: str, columns: Sequence[str]) -> bool:
    """Whether a table of rows can have it: a column of the transactions, or a fact of the address."""
    return name in columns or ("ip_address" in columns and name in FACT_NAMES)


def _stored(words: Iterable[str], columns: Sequence[str]) -> list[str]:
    return sorted({*words, "transaction_id", "as_of_us"} & {*columns})


def _facts(words: Iterable[str], columns: Sequence[str]) -> list[str]:
    return sorted(FACT_NAMES & {*words}) if "ip_address" in columns else []


def _numbered(columns: Iterable[str], source: str, *, in_order: bool = True) -> str:
    order = "ORDER BY as_of_us, transaction_id" if in_order else ""
    return select([f"row_number() OVER ({order}) AS row_id", *columns], source)
