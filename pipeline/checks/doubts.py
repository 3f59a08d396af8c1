"""What was found in checked rows that a person should know of, each with values that show it."""

from collections.abc import Iterator

import duckdb

from features.schema import Kind
from pipeline.checks.coercion import NumberFormat
from pipeline.checks.expressions import mapped_columns
from pipeline.portfolio import Portfolio
from pipeline.sources.delivery import Delivery, first_row, literal, quoted


def find_doubts(
    delivery: Delivery,
    portfolio: Portfolio,
    kinds: dict[str, Kind],
    forms: dict[str, NumberFormat],
) -> Iterator[str]:
    """What was found in the rows that a person should know of, each with rows that show it."""
    connection = delivery.connection
    for name in ("account_id", "merchant_id"):
        if name in kinds:
            yield from _zeros_before(connection, name)
    if portfolio.source.time_zone != "UTC":
        yield from _doubled_hours(connection, portfolio.source.time_zone)
    for name, form in forms.items():
        yield from _number_doubts(name, form)
    if "transaction_id" not in mapped_columns(portfolio, delivery.names):
        copies = (
            "SELECT count(*), min(transaction_id) FROM checked WHERE contains(transaction_id, '-')"
        )
        count, example = first_row(connection, copies)
        if count:
            same = f"{count:,} rows say the same as another one in all that tells rows apart"
            yield f"{same}, such as {example}"


def _number_doubts(name: str, form: NumberFormat) -> Iterator[str]:
    """How the numbers of a column are taken to be written, where it is not the usual way."""
    if form.decimal != ".":
        yield f"{name} is taken to have {form.decimal!r} before its decimals"
    if form.thousands:
        yield f"{name} is taken to have {form.thousands!r} between its thousands"


def _zeros_before(connection: duckdb.DuckDBPyConnection, name: str) -> Iterator[str]:
    """Names that are one number, some with zeros before it: perhaps one, perhaps two."""
    column = quoted(name)
    if not first_row(connection, f"SELECT bool_or(starts_with({column}, '0')) FROM checked")[0]:
        return
    count, example = first_row(
        connection,
        f"SELECT count(*), min(z.{column}) FROM (SELECT DISTINCT {column} FROM checked "
        f"WHERE regexp_full_match({column}, '0+[1-9][0-9]*')) z "
        f"JOIN (SELECT DISTINCT {column} FROM checked) o ON o.{column} = ltrim(z.{column}, '0')",
    )
    if count:
        twin = example.lstrip("0")
        yield f"{name} has {count:,} values like {example!r} beside {twin!r}; they stay apart"


def _doubled_hours(connection: duckdb.DuckDBPyConnection, zone: str) -> Iterator[str]:
    """Local times that the clock shows twice when it is set back."""
    local = f"(event_time AT TIME ZONE {literal(zone)})"
    other = f"((event_time {{}} INTERVAL 1 HOUR) AT TIME ZONE {literal(zone)})"
    twice = f"{local} = {other.format('+')} OR {local} = {other.format('-')}"
    count, example = first_row(
        connection, f"SELECT count(*), min({local})::VARCHAR FROM checked WHERE {twice}"
    )
    if count:
        yield (
            f"{count:,} event times such as {example} come twice where the clock of {zone} is "
            "set back; give their offset to tell which"
        )
