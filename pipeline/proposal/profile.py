"""What each column of theirs looks like: how many values, how they are written, three rows of it.

The parts of a sheet are read by the readers and lie as text in the table `sheet`, with their place
and their values by number; `few` are some of its rows, for what costs a look at each value.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import duckdb

from pipeline.checks.coercion import as_text, country_codes
from pipeline.portfolio import Portfolio
from pipeline.portfolio_tables import Source
from pipeline.proposal.sample import Sheet
from pipeline.proposal.words import find_alike
from pipeline.sources.card_numbers import masked
from pipeline.sources.delivery import (
    PLACE,
    Delivery,
    count_of,
    first_row,
    literal,
    numbered,
    quoted,
)
from pipeline.sources.files import source_files
from pipeline.sources.readers import read_file

MAX_ROWS = 150_000  # of the sheet
FEW = 2_000
MAX_SHOWN = 3
MAX_CODES = 400
SLOW = "in_clause"  # hundreds of columns with a list of words each take minutes with it
_CODES = """
AED ARS AUD BDT BGN BHD BRL CAD CHF CLP CNY COP CZK DKK EGP EUR
GBP GEL HKD HUF IDR ILS INR IQD ISK JOD JPY KES KRW KWD KZT LKR
MAD MXN MYR NGN NOK NZD OMR PEN PHP PKR PLN PYG QAR RON RSD RUB
SAR SEK SGD THB TND TRY TWD TZS UAH UGX USD UYU VND XAF XOF ZAR
"""
CURRENCIES = tuple(_CODES.split())
SIGN = rf"[A-Z]{{0,2}}[$]|[€£¥₹₽₩₺฿]|kr|zł|Kč|{'|'.join(CURRENCIES)}"
FORMS = {
    "whole": r"[+-]?[0-9]+(\.0+)?",
    "number": r"[+-]?[0-9][0-9.,' \x{00a0}\x{202f}]*|[+-]?[.,][0-9]+|[+-]?[0-9.]+[eE][+-]?[0-9]+",
    "decimals": r"[^0-9]*[0-9][0-9.,' \x{00a0}\x{202f}]*[.,][0-9]{1,2}[^0-9]*"
    r"|[^0-9]*[0-9.]*[.,][0-9]{4,}",
    "money": rf"[(+-]? ?({SIGN})? ?[(+-]? ?[0-9][0-9.,' \x{{00a0}}\x{{202f}}]* ?({SIGN})?[)-]?",
    "iso": r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ].*)?",
    "offset": r".*([Zz]|UTC|GMT|[+-][0-9]{2}:?([0-9]{2})?)",
    "date": r"[0-9]{4}-[0-9]{2}-[0-9]{2}",
    "clock": r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2}([.][0-9]+)?)?",
    "dated": r".*[0-9].*[-/. ,].*[0-9].*|[0-9]{8}([0-9]{6})?",
    "email": r"[^@ ]+@[^@ ]+[.][^@ ]+",
    "ip": r"([0-9]{1,3}[.]){3}[0-9]{1,3}|[0-9a-fA-F]*:[0-9a-fA-F:]*:[0-9a-fA-F.]*",
    "mcc": r"[0-9]{3,4}([.]0)?",
    "letters": r".*[A-Za-z].*",
}


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of theirs: its place, DuckDB's type, how many values it has, how they look.

    `shares` are of the few rows' values, by the name of the form.
    """

    name: str
    at: int
    kind: str
    count: int
    distinct: int
    shares: dict[str, float] = field(default_factory=dict)

    def is_mostly(self, form: str, share: float = 0.98) -> bool:
        """Whether nearly all values are of a form."""
        return self.count > 0 and self.shares.get(form, 0.0) >= share

    @property
    def is_time(self) -> bool:
        """Whether the type says that it is a time."""
        return self.kind.startswith("TIMESTAMP") or self.kind == "DATE"

    @property
    def is_number(self) -> bool:
        """Whether it can be computed with."""
        return self.is_mostly("number") and not self.is_time

    @property
    def sql(self) -> str:
        """The value in `sheet`, as text; null where there is none."""
        return quoted(numbered(self.at))


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What the rows of a sheet look like, in the connection's tables `sheet` and `few`."""

    sheet: Sheet
    connection: duckdb.DuckDBPyConnection
    columns: tuple[Column, ...]
    rows: int  # of the table
    records: int  # of the parts

    @cached_property
    def by_name(self) -> dict[str, Column]:
        """The columns by their names."""
        return {column.name: column for column in self.columns}

    def ask(self, what: str, *, given: str = "sheet") -> tuple[object, ...]:
        """The one row that a query of the sheet has."""
        return first_row(self.connection, f"SELECT {what} FROM {given}")

    def count(self, condition: str) -> int:
        """How many rows of the sheet a condition holds for."""
        return count_of(self.connection, f"SELECT count(*) FROM sheet WHERE {condition}")

    def values(self, column: Column, most: int = 12) -> list[str]:
        """The values of a column, the commonest first."""
        rows = self.connection.execute(
            f"SELECT {column.sql}, count(*) AS n FROM sheet WHERE {column.sql} IS NOT NULL "
            f"GROUP BY 1 ORDER BY n DESC, 1 LIMIT {most}"
        ).fetchall()
        return [str(value) for value, _ in rows]

    def rows_of(self, columns: Sequence[Column], condition: str = "true") -> tuple[str, ...]:
        """The first rows that show something: their place, and their values of these columns."""
        shown = ", ".join(column.sql for column in columns)
        found = self.connection.execute(
            f"SELECT place + 1, {shown} FROM sheet WHERE {condition} ORDER BY place "
            f"LIMIT {MAX_SHOWN}"
        ).fetchall()
        return tuple(_row(columns, place, values) for place, *values in found)


def _row(columns: Sequence[Column], place: int, values: Sequence[str | None]) -> str:
    pairs = zip(columns, values, strict=True)
    said = ", ".join(f"{column.name} = {_value(value)}" for column, value in pairs)
    return f"row {place:,}: {said}"


def _value(value: str | None) -> str:
    return "nothing" if value is None else repr(masked(value[:60]))


@contextmanager
def profiled(sheet: Sheet, folder: Path) -> Iterator[Profile]:
    """The profile of a sheet, open in a database in memory."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET enable_progress_bar = false")
        connection.execute(f"SET disabled_optimizers = '{SLOW}'")
        connection.execute("SET python_enable_replacements = false")
        deliveries = _read_parts(sheet, folder, connection)
        rows = count_of(connection, "SELECT count(*) FROM sheet")
        step = max(1, rows // FEW)
        connection.execute(f"CREATE TABLE few AS SELECT * FROM sheet WHERE place % {step} = 0")
        yield Profile(
            sheet=sheet,
            connection=connection,
            columns=tuple(_columns(connection, deliveries)),
            rows=rows,
            records=sum(delivery.records for delivery in deliveries),
        )


def _read_parts(
    sheet: Sheet, folder: Path, connection: duckdb.DuckDBPyConnection
) -> list[Delivery]:
    """Read the parts into `sheet`, each value as text."""
    deliveries: list[Delivery] = []
    described = Portfolio(
        name="proposal",
        file=sheet.parts[0].parent / "portfolio.toml",
        source=Source(path="."),
        columns={},
    )
    for file in source_files(described):
        with duckdb.connect() as reading:
            reading.execute("SET TimeZone = 'UTC'; SET python_enable_replacements = false")
            reading.execute(f"SET disabled_optimizers = '{SLOW}'")
            delivery = read_file(file, described, reading, folder)
            step = max(1, delivery.records * len(sheet.parts) // MAX_ROWS)
            columns = zip(delivery.columns, delivery.types, strict=True)
            texts = [_text(name, kind) for name, kind in columns]
            read = (
                f"SELECT {quoted(PLACE)} AS place, {', '.join(texts)} FROM raw "
                f"WHERE {quoted(PLACE)} % {step} = 0"
            )
            part = reading.sql(read).to_arrow_table()
        connection.register("part", part)
        start = "INSERT INTO sheet" if deliveries else "CREATE TABLE sheet AS"
        connection.execute(f"{start} SELECT * FROM part")
        connection.unregister("part")
        deliveries.append(delivery)
    return deliveries


def _text(name: str, kind: str) -> str:
    plain = kind.split("(", maxsplit=1)[0]
    is_plain = plain in ("FLOAT", "DOUBLE", "DECIMAL", "VARCHAR", "JSON", "UUID")
    sql = as_text(quoted(name), kind) if is_plain else f"CAST({quoted(name)} AS VARCHAR)"
    return f"{sql} AS {quoted(name)}"


def _columns(
    connection: duckdb.DuckDBPyConnection, deliveries: Sequence[Delivery]
) -> Iterator[Column]:
    names, types = deliveries[0].names, deliveries[0].types
    alike = {name for found in find_alike(names).values() for name in found}
    for at, (name, kind) in enumerate(zip(names, types, strict=True)):
        value = quoted(numbered(at))
        count, distinct = first_row(
            connection, f"SELECT count({value}), count(DISTINCT {value}) FROM sheet"
        )
        forms = ("number",) if name in alike else tuple(FORMS)
        shares = _shares(connection, value, forms) if count else {}
        if count and name not in alike:
            shares |= _shares_of_codes(connection, value)
        yield Column(name=name, at=at, kind=kind, count=count, distinct=distinct, shares=shares)


def _shares(
    connection: duckdb.DuckDBPyConnection, value: str, forms: Sequence[str]
) -> dict[str, float]:
    """Share of the values that are of each form."""
    asked = [f"avg(regexp_full_match(v, {literal(FORMS[form])})::INT)" for form in forms]
    means = ", ".join(f"coalesce({one}, 0)" for one in asked)
    found = first_row(
        connection,
        f"SELECT {means} FROM (SELECT trim({value}) AS v FROM few WHERE {value} IS NOT NULL)",
    )
    return dict(zip(forms, found, strict=True))


def _shares_of_codes(connection: duckdb.DuckDBPyConnection, value: str) -> dict[str, float]:
    """Share of the different values that are a currency's or a country's code or name."""
    rows = connection.execute(
        f"SELECT DISTINCT upper(trim({value})) FROM few WHERE {value} IS NOT NULL LIMIT {MAX_CODES}"
    ).fetchall()
    values = {str(one) for (one,) in rows}
    codes = country_codes()
    known = {"currency": {*CURRENCIES}, "country": {*codes, *codes.values()}}
    return {form: len(values & words) / max(1, len(values)) for form, words in known.items()}
