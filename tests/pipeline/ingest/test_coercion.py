"""Whatever type a source gives a value, Strata's type says the same, or says that it cannot."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.schema import Kind, SchemaError
from pipeline.ingest.coercion import check_type, convert

TEN = datetime(2025, 5, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        pytest.param("text", 9007199254740993, "9007199254740993", id="a great integer as an id"),
        pytest.param("text", 7.0, "7", id="a whole float as an id"),
        pytest.param("text", True, "true", id="a flag as text"),
        pytest.param("text", " \t", None, id="blanks"),
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
        pytest.param("time", "today", None, id="today"),
        pytest.param("time", 1746093600, None, id="an integer for a time"),
        pytest.param("flag", "TRUE", True, id="capitals"),
        pytest.param("flag", "f", False, id="one letter"),
        pytest.param("flag", 1, True, id="one"),
        pytest.param("flag", 0.0, False, id="zero as a float"),
        pytest.param("flag", False, False, id="a flag"),
        pytest.param("flag", 2, None, id="two"),
    ],
)
def test_a_value_becomes_what_it_says(kind: Kind, value: object, expected: object) -> None:
    assert convert(pa.chunked_array([[value, None]]), kind).to_pylist() == [expected, None]


@pytest.mark.parametrize("kind", ["text", "number", "time", "flag"])
def test_a_column_of_nulls_and_one_without_rows_are_converted(kind: Kind) -> None:
    assert convert(pa.chunked_array([pa.nulls(2)]), kind).to_pylist() == [None, None]
    assert len(convert(pa.chunked_array([], pa.string()), kind)) == 0


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_as_text_is_the_same_to_the_last_bit(value: float) -> None:
    assert convert(pa.chunked_array([[repr(value)]]), "number").to_pylist() == [value]


def test_categories_are_read_as_their_values() -> None:
    assert convert(
        pa.chunked_array([pa.array(["a", "b", None]).dictionary_encode()]), "text"
    ).to_pylist() == ["a", "b", None]


@pytest.mark.parametrize("values", [[[1]], [{"a": 1}], [b"x"]], ids=["a list", "a struct", "bytes"])
def test_a_column_without_text_is_refused(values: list[Any]) -> None:
    with pytest.raises(SchemaError, match=r"'basket' is of type .*; give it as text"):
        check_type("basket", pa.array(values).type)
