"""The columns of a transaction: their names, types, units and the checks a value must pass."""

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

Kind = Literal["text", "time", "number", "flag"]

ARROW_TYPES: dict[Kind, pa.DataType] = {
    "text": pa.string(),
    "time": pa.timestamp("us", tz="UTC"),
    "number": pa.float64(),
    "flag": pa.bool_(),
}


class SchemaError(ValueError):
    """A table does not have the columns or types that Strata needs."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column: what it holds, and what a value of it must satisfy.

    `least` and `most` are inclusive bounds of a number; `pattern` is a regular expression that a
    text matches whole.
    """

    name: str
    kind: Kind
    meaning: str
    required: bool = False
    least: float | None = None
    most: float | None = None
    pattern: str | None = None


COUNTRY = "[A-Z]{2}"

COLUMNS: tuple[Column, ...] = (
    Column(
        name="transaction_id", kind="text", meaning="unique name of the transaction", required=True
    ),
    Column(name="event_time", kind="time", meaning="when it happened, UTC", required=True),
    Column(name="known_at", kind="time", meaning="when it reached us, UTC"),
    Column(name="account_id", kind="text", meaning="who pays: sender, card, user", required=True),
    Column(
        name="amount",
        kind="number",
        meaning="major units of the currency",
        required=True,
        least=0.0,
    ),
    Column(name="currency", kind="text", meaning="ISO 4217 code", pattern="[A-Z]{3}"),
    Column(name="ip_address", kind="text", meaning="IPv4 or IPv6 address"),
    Column(name="device_id", kind="text", meaning="the device that was used"),
    Column(
        name="latitude", kind="number", meaning="where it happened, degrees", least=-90.0, most=90.0
    ),
    Column(
        name="longitude",
        kind="number",
        meaning="where it happened, degrees",
        least=-180.0,
        most=180.0,
    ),
    Column(
        name="country",
        kind="text",
        meaning="country of the card or account, ISO 3166 alpha-2",
        pattern=COUNTRY,
    ),
    Column(name="merchant_id", kind="text", meaning="the retailer"),
    Column(
        name="merchant_category",
        kind="text",
        meaning="merchant category code, ISO 18245",
        pattern="[0-9]{4}",
    ),
    Column(
        name="merchant_latitude",
        kind="number",
        meaning="where the retailer is, degrees",
        least=-90.0,
        most=90.0,
    ),
    Column(
        name="merchant_longitude",
        kind="number",
        meaning="where the retailer is, degrees",
        least=-180.0,
        most=180.0,
    ),
    Column(
        name="merchant_country",
        kind="text",
        meaning="country of the retailer, ISO 3166 alpha-2",
        pattern=COUNTRY,
    ),
    Column(name="counterparty_id", kind="text", meaning="who receives the money"),
    Column(name="account_opened_at", kind="time", meaning="when the account was opened, UTC"),
    Column(name="channel", kind="text", meaning="how it was paid: online, pos, transfer, ..."),
    Column(name="declined", kind="flag", meaning="the payment was refused"),
    Column(
        name="credit_score", kind="number", meaning="the payer's credit score, points of its source"
    ),
    Column(name="social_event", kind="text", meaning="what was last seen of the user in public"),
    Column(name="social_event_at", kind="time", meaning="when that was seen, UTC"),
)
LABEL_COLUMNS: tuple[Column, ...] = (
    Column(name="is_fraud", kind="flag", meaning="the label; null is none yet"),
    Column(name="label_known_at", kind="time", meaning="when the label reached us, UTC"),
)
BY_NAME = {column.name: column for column in (*COLUMNS, *LABEL_COLUMNS)}
REQUIRED = tuple(column.name for column in COLUMNS if column.required)

LABELS = pa.schema(
    [
        ("transaction_id", pa.string()),
        ("is_fraud", pa.bool_()),
        ("known_at", ARROW_TYPES["time"]),
        ("source", pa.string()),
    ]
)


def transactions_schema(extra: dict[str, Kind] | None = None) -> pa.Schema:
    """Return the Arrow schema of lake/transactions.

    It has all columns, `as_of`, `row_digest`, and a portfolio's own columns.

    >>> transactions_schema({"basket_size": "number"}).field("basket_size").type
    DataType(double)
    """
    fields = [(column.name, ARROW_TYPES[column.kind]) for column in COLUMNS]
    fields += [("as_of", ARROW_TYPES["time"]), ("row_digest", pa.int64())]
    return pa.schema(fields + [(name, ARROW_TYPES[kind]) for name, kind in (extra or {}).items()])
