"""Whatever type a source gives a value, Strata's type says the same, or says that it cannot."""

from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pycountry
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.schema import BY_NAME, Kind
from pipeline.checks.coercion import (
    CONVERSIONS,
    FORMS,
    NAMED,
    NumberFormat,
    as_flag,
    as_identifier,
    as_major_units,
    as_number,
    as_text,
    as_time,
    country_codes,
)
from pipeline.portfolio_tables import LabelValues
from tests.ingest_examples import row, stored, take_in

TEN = datetime(2025, 5, 1, 10, tzinfo=UTC)


@cache
def connection_in(zone: str) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute(f"SET TimeZone = '{zone}'")
    return connection


def answer(sql: str, value: object = None, *, zone: str = "UTC") -> Any:
    """What SQL makes of a value."""
    query = f"SELECT {sql} FROM (SELECT ? AS value)"
    return connection_in(zone).execute(query, [value]).fetchall()[0][0]


def converted(value: object, kind: Kind) -> object:
    """The value in Strata's type, from whatever type it has."""
    source = str(answer("typeof(value)", value))
    given = as_text("value", source) if source == "VARCHAR" else "value"
    return answer(CONVERSIONS[kind](given, source), value)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        pytest.param("text", 9007199254740993, "9007199254740993", id="a great integer as an id"),
        pytest.param("text", 7.0, "7", id="a whole float as an id"),
        pytest.param("text", True, "true", id="a flag as text"),
        pytest.param("text", " \t", None, id="blanks"),
        pytest.param("text", "\u00a0T070 ", "T070", id="blanks around"),
        pytest.param("text", "NaN", None, id="a word for null"),
        pytest.param("text", "NA", "NA", id="Namibia"),
        pytest.param("text", 4613314721966123.0, "4613314721966123", id="a long id as a float"),
        pytest.param("number", " 12.50 ", 12.5, id="a number as text"),
        pytest.param("number", "+.5e1", 5.0, id="an exponent"),
        pytest.param("number", "1_000", None, id="underscores"),
        pytest.param("number", "0x10", None, id="hexadecimal"),
        pytest.param("number", Decimal("1.10"), 1.1, id="a decimal"),
        pytest.param("number", True, None, id="a flag for a number"),
        pytest.param("number", TEN, None, id="a time for a number"),
        pytest.param("number", float("inf"), None, id="infinite"),
        pytest.param("time", "2025-05-01T12:00:00+02:00", TEN, id="an offset"),
        pytest.param("time", "2025-05-01 10:00:00", TEN, id="no offset is UTC"),
        pytest.param("time", "2025-05-01T10:00:00Z", TEN, id="UTC"),
        pytest.param("time", "2025-05-01", datetime(2025, 5, 1, tzinfo=UTC), id="a date as text"),
        pytest.param("time", date(2025, 5, 1), datetime(2025, 5, 1, tzinfo=UTC), id="a date"),
        pytest.param(
            "time",
            "2025-05-01T10:00:00.123456Z",
            TEN.replace(microsecond=123456),
            id="microseconds",
        ),
        pytest.param(
            "time",
            "2025-05-01T10:00:00.123456789Z",
            TEN.replace(microsecond=123456),
            id="nanoseconds are cut off",
        ),
        pytest.param("time", "9999-12-31", datetime(9999, 12, 31, tzinfo=UTC), id="a far day"),
        pytest.param("time", "2025-05-01 10:00:00 UTC", TEN, id="UTC in letters"),
        pytest.param("time", "2025-05-01T10:00", TEN, id="no seconds"),
        pytest.param("time", "infinity", None, id="no moment at all"),
        pytest.param("time", "today", None, id="today"),
        pytest.param("time", 1746093600, None, id="an integer for a time"),
        pytest.param("flag", "TRUE", True, id="capitals"),
        pytest.param("flag", "f", False, id="one letter"),
        pytest.param("flag", "Yes", True, id="yes"),
        pytest.param("flag", "n", False, id="no"),
        pytest.param("flag", 1, True, id="one"),
        pytest.param("flag", 0.0, False, id="zero as a float"),
        pytest.param("flag", False, False, id="a flag"),
        pytest.param("flag", 2, None, id="two"),
    ],
)
def test_a_value_becomes_what_it_says(kind: Kind, value: object, expected: object) -> None:
    assert converted(value, kind) == expected


@pytest.mark.parametrize("kind", ["text", "number", "time", "flag"])
def test_nothing_stays_nothing(kind: Kind) -> None:
    assert converted(None, kind) is None


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_as_text_is_the_same_to_the_last_bit(value: float) -> None:
    assert converted(repr(value), "number") == value


@pytest.mark.parametrize("word", ["", " ", "nan", "NULL", "None", "N/A", "NA", "<NA>", "\\N"])
def test_a_word_for_null_is_nobody(word: str) -> None:
    assert answer(as_identifier("value", "VARCHAR"), word) is None


@pytest.mark.parametrize(
    ("text", "form", "expected"),
    [
        ("2.650,75", NumberFormat(decimal=",", thousands="."), 2650.75),
        ("2.650", NumberFormat(decimal=",", thousands="."), 2650.0),
        ("-7,5", NumberFormat(decimal=","), -7.5),
        ("7.5", NumberFormat(decimal=","), None),
        ("12,650.75", NumberFormat(thousands=","), 12650.75),
        ("12'650.75", NumberFormat(thousands="'"), 12650.75),
        ("12\u00a0650,75", NumberFormat(decimal=",", thousands=" "), 12650.75),
    ],
)
def test_a_number_is_read_as_it_is_written(
    text: str, form: NumberFormat, expected: float | None
) -> None:
    assert answer(as_number("value", "VARCHAR", form=form), text) == expected


@pytest.mark.parametrize(
    ("value", "time_format"),
    [
        pytest.param(1746093600, "seconds", id="seconds"),
        pytest.param("1746093600", "seconds", id="seconds as text"),
        pytest.param(1746093600000, "milliseconds", id="milliseconds"),
        pytest.param(1746093600000000, "microseconds", id="microseconds"),
        pytest.param("01/05/2025 10h00", "%d/%m/%Y %Hh%M", id="a pattern"),
        pytest.param("2025-05-01T10:00:00Z", "%d/%m/%Y %Hh%M", id="ISO beside a pattern"),
    ],
)
def test_a_time_is_read_by_its_format(value: object, time_format: str) -> None:
    kind = str(answer("typeof(value)", value))
    assert answer(as_time("value", kind, time_format=time_format), value) == TEN


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-12-01 08:00:00", datetime(2024, 12, 1, 13, tzinfo=UTC)),
        ("2024-06-01 08:00:00", datetime(2024, 6, 1, 12, tzinfo=UTC)),
        ("2024-06-01 08:00:00+00:00", datetime(2024, 6, 1, 8, tzinfo=UTC)),
    ],
    ids=["in winter", "in summer", "with its offset"],
)
def test_a_local_time_is_read_in_its_zone(text: str, expected: datetime) -> None:
    assert answer(as_time("value", "VARCHAR"), text, zone="America/New_York") == expected


def test_labels_are_read_by_their_own_words() -> None:
    values = LabelValues(fraud=["Chargeback", "2"], legitimate=["1"])
    said = ["chargeback", "2", "1", "maybe", "true"]
    found = [answer(as_flag("value", "VARCHAR", values=values), word) for word in said]
    assert found == [True, True, False, None, None]


@pytest.mark.parametrize(
    ("currency", "expected"), [("CHF", 12.34), ("KRW", 1234.0), ("KWD", 1.234), (None, 12.34)]
)
def test_minor_units_go_by_the_currencys_decimals(currency: str | None, expected: float) -> None:
    assert answer(as_major_units("1234", "value"), currency) == expected


@pytest.mark.parametrize(
    ("column", "text", "expected"),
    [
        ("country", "fr", "FR"),
        ("country", "FRA", "FR"),
        ("merchant_country", "Czech Republic", "CZ"),
        ("country", "Atlantis", "ATLANTIS"),
        ("merchant_category", "763", "0763"),
        ("merchant_category", "5999", "5999"),
        ("currency", "sek", "SEK"),
    ],
)
def test_the_common_forms_of_a_code_are_understood(column: str, text: str, expected: str) -> None:
    assert column in BY_NAME
    known = NAMED[column]() if column in NAMED else {}
    codes = {name: code for name, code in known.items() if name == text.upper()}
    assert answer(FORMS[column]("value", codes), text) == expected


def test_every_country_is_known_by_its_codes() -> None:
    known = country_codes()
    for country in pycountry.countries:
        assert known[country.alpha_3] == known[country.numeric] == country.alpha_2


def test_codes_come_as_numbers_and_in_many_tongues(tmp_path: Path) -> None:
    said = ["276", "36", "4", "Allemagne", "deutschland", "Estados Unidos", "uk", "ch", "Ozz"]
    money = ["978", "36", "8", "€", "eur", "£", "GBP", "chf", "$"]
    both = zip(said, money, strict=True)
    rows = [row(str(at), country=one, currency=coin) for at, (one, coin) in enumerate(both)]
    lake, (done,) = take_in(tmp_path, rows)
    taken = sorted(stored(lake, "transactions"), key=lambda one: str(one["transaction_id"]))
    assert [one["country"] for one in taken] == [
        *("DE", "AU", "AF", "DE", "DE", "US", "GB", "CH", None)
    ]
    assert [one["currency"] for one in taken] == [
        *("EUR", "AUD", "ALL", "EUR", "EUR", "GBP", "GBP", "CHF", None)
    ]
    assert {lost.example for lost in done.missing} == {"'Ozz'", "'$'"}
