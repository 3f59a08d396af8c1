"""Amounts in one currency: each converted by the rate of its own day, as features read them.

The table of transactions keeps what was paid. Whatever a query reads of it, windows and rows alike,
sees the amount in the currency that is reported in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import pyarrow as pa

from features.sql.windows import select

RATES, PAID = "rates", "transactions_as_paid"
DAY_US = 86_400_000_000
MAX_AGE_DAYS = 7  # of a rate: over a weekend, and over the longest holidays of a market
STEPS = 10_000  # a converted amount is a whole number of ten-thousandths, on every engine


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What one unit of a currency is worth in units of `reporting`, on each day that has a rate.

    `daily` has the columns currency, day (days since 1970) and rate; `stated` those that `file`
    says, without the days in between.
    """

    reporting: str
    file: str
    daily: pa.Table
    stated: pa.Table


def converting_view(columns: Sequence[str], rates: Rates) -> str:
    """Write the query of the transactions with their amounts in the reporting currency.

    >>> rates = Rates(reporting="EUR", file="", daily=pa.table({}), stated=pa.table({}))
    >>> converting_view(["amount"], rates).partition(" AS amount")[0]  # doctest: +ELLIPSIS
    "SELECT CASE WHEN ... = 'EUR' THEN ... ELSE floor(... + 0.5e0) / 10000e0 END"
    """
    amount, currency = f"{PAID}.amount", f"{PAID}.currency"
    rounded = f"floor({amount} * {RATES}.rate * {STEPS}e0 + 0.5e0) / {STEPS}e0"
    is_reported = f"{currency} IS NULL OR {currency} = '{rates.reporting}'"
    converted = f"CASE WHEN {is_reported} THEN {amount} ELSE {rounded} END AS amount"
    names = [converted if name == "amount" else f"{PAID}.{name}" for name in columns]
    return select(names, _joined())


def missing_rate_query(rates: Rates) -> str:
    """Write the query of the currencies without a rate: how many rows, and the first one's time."""
    is_foreign = f"{PAID}.currency IS NOT NULL AND {PAID}.currency <> '{rates.reporting}'"
    counted = [f"{PAID}.currency", "count(*) AS payments", f"min({PAID}.event_us) AS first_us"]
    without = f"{_joined()} WHERE {is_foreign} AND {RATES}.rate IS NULL"
    return f"{select(counted, without)} GROUP BY {PAID}.currency ORDER BY {PAID}.currency"


def missing_sentence(missing: pa.Table, rates: Rates) -> str:
    """Say which currency lacks a rate, on which day, and what to add."""
    first, *others = missing.to_pylist()
    day = date(1970, 1, 1) + timedelta(days=first["first_us"] // DAY_US)
    more = f", nor have those in {', '.join(one['currency'] for one in others)}" if others else ""
    code = first["currency"]
    return (
        f"{first['payments']:,} payments in {code} have no rate to {rates.reporting}, neither of "
        f"{day} nor of the {MAX_AGE_DAYS} days before{more}; add {code},{day},RATE to {rates.file}"
    )


def _joined() -> str:
    """The transactions, each with the rate of its day (UTC)."""
    day = f"CAST(floor({PAID}.event_us / {DAY_US}e0) AS BIGINT)"
    same = f"{RATES}.currency = {PAID}.currency AND {RATES}.day = {day}"
    return f"{PAID} LEFT JOIN {RATES} ON {same}"
