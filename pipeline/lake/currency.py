"""Rates of currencies, read from a file and doubted before they are used; and what the lake holds.

A rate is what one unit of its currency is worth in units of the reporting one.
"""

import hashlib
import json
from datetime import date, datetime, timedelta
from glob import escape
from pathlib import Path

import duckdb
import pyarrow.compute as pc

from features.sql.currency import MAX_AGE_DAYS, Rates
from pipeline.lake.tables import Lake
from pipeline.portfolio import Portfolio, PortfolioError

MAX_JUMP = 10.0  # from one rate of a currency to its next
# roughly, units a US dollar: only to see a pair that is upside down
PER_DOLLAR = {
    "USD": 1.0, "EUR": 0.9, "GBP": 0.8, "CHF": 0.9, "JPY": 150.0, "KRW": 1350.0, "CNY": 7.2,
    "HKD": 7.8, "TWD": 32.0, "INR": 84.0, "IDR": 16000.0, "VND": 25000.0, "THB": 35.0,
    "PHP": 57.0, "MYR": 4.5, "SGD": 1.35, "AUD": 1.5, "NZD": 1.65, "CAD": 1.37, "MXN": 18.0,
    "BRL": 5.4, "CLP": 930.0, "COP": 4100.0, "ARS": 1000.0, "PYG": 7500.0, "CZK": 23.0,
    "HUF": 360.0, "PLN": 4.0, "RON": 4.6, "RSD": 108.0, "UAH": 41.0, "RUB": 90.0, "KZT": 500.0,
    "SEK": 10.5, "NOK": 10.6, "DKK": 6.9, "ISK": 137.0, "ILS": 3.7, "ZAR": 18.0, "KES": 130.0,
    "UGX": 3700.0, "TZS": 2600.0, "XOF": 600.0, "XAF": 600.0, "PKR": 278.0, "LKR": 300.0,
    "BDT": 119.0, "KWD": 0.31, "BHD": 0.38, "OMR": 0.385, "JOD": 0.71,
}  # fmt: skip
MIN_APART, ALIKE = 16.0, 5.0  # how far a rate must be from what is thought, its inverse how near
DAILY = """
    SELECT currency, unnest(range(day, least(next_day, day + {days}))) AS day, rate FROM (
        SELECT *, coalesce(lead(day) OVER (PARTITION BY currency ORDER BY day), day + {days})
            AS next_day FROM stated)
    ORDER BY currency, day
"""
JUMP = """
    SELECT currency, before, rate, day FROM (
        SELECT *, lag(rate) OVER (PARTITION BY currency ORDER BY day) AS before FROM stated)
    WHERE greatest(rate / before, before / rate) > {most} ORDER BY currency, day LIMIT 1
"""


def find_rates(portfolio: Portfolio, lake: Lake, *, version: int) -> tuple[Rates | None, str]:
    """The rates that a portfolio's amounts need, and the one currency that they then are in.

    Where all are in one currency nothing is needed. Raises PortfolioError where there are several
    and no rates, or the rates cannot be believed.
    """
    found = lake.extremes("transactions", "currency", version=version)
    asked = portfolio.currency
    if found is None:
        return None, asked.reporting
    if asked.reporting and found != (asked.reporting, asked.reporting):
        return read_rates(portfolio), asked.reporting
    if found[0] != found[1]:
        raise _several(portfolio, lake, version)
    return None, found[0]


def _several(portfolio: Portfolio, lake: Lake, version: int) -> PortfolioError:
    rows = lake.read("transactions", columns=["currency"], version=version)
    counted = [] if rows is None else rows["currency"].value_counts().to_pylist()
    named = sorted((one for one in counted if one["values"]), key=lambda one: -one["counts"])
    shown = ", ".join(f"{one['values']} ({one['counts']:,})" for one in named[:5])
    more = f" and {len(named) - 5} more" if len(named) > 5 else ""
    lines = f'reporting = "{named[0]["values"]}" and rates = "rates.csv"'
    return PortfolioError(
        f"portfolio {portfolio.name} has payments in {shown}{more}, which cannot be added or "
        f"ranked as they are; write [currency] with {lines} (columns currency, day, rate: what one "
        f"unit is worth in {named[0]['values']}) into {portfolio.file}"
    )


def read_rates(portfolio: Portfolio) -> Rates:
    """Read and check the rates of a portfolio.

    Raises PortfolioError with the line that is wrong.
    """
    file, reporting = portfolio.currency_file, portfolio.currency.reporting
    with duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar = false")
        _read(connection, file)
        _check_values(connection, file)
        _check_believable(connection, file, reporting)
        stated = connection.sql("SELECT * FROM stated ORDER BY currency, day").to_arrow_table()
        daily = connection.sql(DAILY.format(days=MAX_AGE_DAYS + 1)).to_arrow_table()
    return Rates(reporting=reporting, file=str(file), daily=daily, stated=stated)


def settled_digest(rates: Rates, *, by: datetime) -> str:
    """Fingerprint of the rates that were settled at a moment: nothing of their days comes late."""
    last = (by.date() - date(1970, 1, 1)) // timedelta(days=1) - MAX_AGE_DAYS
    settled = rates.stated.filter(pc.field("day") < last)
    text = json.dumps(settled.to_pydict(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read(connection: duckdb.DuckDBPyConnection, file: Path) -> None:
    """Make the table `said` of the file's texts."""
    if not file.is_file():
        raise PortfolioError(f"there is no file of rates {file}; mend rates in [currency]")
    escaped = escape(str(file)).replace("'", "''")
    try:
        connection.execute(
            f"CREATE TABLE given AS FROM read_csv('{escaped}', all_varchar = true, header = true)"
        )
        names = [name for name, *_ in connection.execute("DESCRIBE given").fetchall()]
        ours = {name.strip().lower(): name for name in names}
        if absent := [name for name in ("currency", "day", "rate") if name not in ours]:
            raise PortfolioError(
                f"the rates {file} lack {', '.join(absent)}; found {', '.join(names)}; "
                "name the columns currency, day and rate"
            )
        picked = [
            f'trim("{ours[name].replace(chr(34), chr(34) * 2)}") AS {name}'
            for name in ("currency", "day", "rate")
        ]
        texts = ", ".join(["row_number() OVER () AS line", *picked])
        connection.table("given").project(texts).create("said")
    except duckdb.Error as error:
        reason = " ".join(str(error).split())[:200]
        raise PortfolioError(
            f"the rates {file} cannot be read ({reason}); write a csv file with the columns "
            "currency, day and rate"
        ) from error


def _check_values(connection: duckdb.DuckDBPyConnection, file: Path) -> None:
    """Make the table `stated`; refuse what is no currency, day or rate, and two rates of a day."""
    connection.execute(
        "CREATE TABLE typed AS SELECT *, "
        "CASE WHEN regexp_full_match(currency, '[A-Za-z]{3}') THEN upper(currency) END AS code, "
        "CASE WHEN regexp_full_match(day, '[0-9]{4}-[0-9]{2}-[0-9]{2}') "
        "THEN TRY_CAST(day AS DATE) END AS on_day, "
        "TRY_CAST(rate AS DOUBLE) AS number FROM said"
    )
    wrong = connection.execute(
        "SELECT line, currency, day, rate FROM typed WHERE code IS NULL OR on_day IS NULL "
        "OR number IS NULL OR NOT isfinite(number) OR number <= 0 ORDER BY line LIMIT 1"
    ).fetchone()
    if wrong is not None:
        line, *values = wrong
        row = ",".join(str(value or "") for value in values)
        raise PortfolioError(
            f"row {line} of the rates {file} is {row!r}; write an ISO 4217 code, an ISO 8601 day "
            "and a rate above 0, such as USD,2025-03-01,0.92"
        )
    connection.execute(
        "CREATE TABLE stated AS SELECT DISTINCT code AS currency, "
        "on_day - DATE '1970-01-01' AS day, number AS rate FROM typed"
    )
    double = connection.execute(
        "SELECT currency, (DATE '1970-01-01' + day::INTEGER)::VARCHAR, min(rate), max(rate) "
        "FROM stated GROUP BY currency, day HAVING count(*) > 1 ORDER BY 1, 2 LIMIT 1"
    ).fetchone()
    if double is not None:
        raise PortfolioError(
            f"the rates {file} have two rates of {double[0]} on {double[1]}, {double[2]:g} and "
            f"{double[3]:g}; keep one"
        )


def _check_believable(connection: duckdb.DuckDBPyConnection, file: Path, reporting: str) -> None:
    """Refuse a rate of the reporting currency that is not 1, a leap, and pairs upside down."""
    meaning = f"a rate is what one unit of its currency is worth in {reporting}"
    own = connection.execute(
        "SELECT rate FROM stated WHERE currency = ? AND rate <> 1 LIMIT 1", [reporting]
    ).fetchone()
    if own is not None:
        raise PortfolioError(
            f"the rates {file} say that one {reporting} is {own[0]:g} {reporting}; {meaning}, so "
            "check in which currency they are, and leave that one out"
        )
    leap = connection.execute(JUMP.format(most=MAX_JUMP)).fetchone()
    if leap is not None:
        day = date(1970, 1, 1) + timedelta(days=leap[3])
        raise PortfolioError(
            f"the rates {file} let {leap[0]} go from {leap[1]:g} to {leap[2]:g} at {day}; "
            f"{meaning}: look for pairs that are upside down"
        )
    typical = connection.execute(
        "SELECT currency, median(rate) FROM stated GROUP BY currency ORDER BY currency"
    ).fetchall()
    for code, rate in typical:
        if _is_upside_down(code, rate, reporting):
            raise PortfolioError(
                f"the rates {file} say that one {code} is {rate:g} {reporting}, which looks upside "
                f"down; {meaning}: write {1 / rate:.4g}"
            )


def _is_upside_down(code: str, rate: float, reporting: str) -> bool:
    """Whether a rate is far from what is roughly known of the pair, and its inverse is near.

    >>> _is_upside_down("JPY", 163.0, "EUR"), _is_upside_down("USD", 1.09, "EUR")
    (True, False)
    """
    if code not in PER_DOLLAR or reporting not in PER_DOLLAR:
        return False
    thought = PER_DOLLAR[reporting] / PER_DOLLAR[code]
    away, inverse_away = (max(one / thought, thought / one) for one in (rate, 1 / rate))
    return away > MIN_APART and inverse_away < ALIKE
