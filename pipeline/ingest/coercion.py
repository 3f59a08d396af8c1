"""A source's column, of whatever type it has there, in the type that Strata gives the column.

Null where it cannot be.
"""

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from features.schema import ARROW_TYPES, Kind, SchemaError

NUMBER = r"^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$"
# a whole date at least: "now" and a bare year would be read as times, too
TIME = r"^\d{4}-\d{2}-\d{2}"
TRUE = pa.array(["1", "true", "t", "1.0"])
FALSE = pa.array(["0", "false", "f", "0.0"])


def convert(values: pa.ChunkedArray, kind: Kind) -> pa.ChunkedArray:
    """Return the values in the kind's Arrow type; blanks and what cannot be read become null.

    >>> convert(pa.chunked_array([["12.50", " ", "cheap", "inf"]]), "number").to_pylist()
    [12.5, None, None, None]
    """
    return {"text": as_text, "number": _numbers, "time": _times, "flag": _flags}[kind](values)


def as_text(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the values as text, null where there is none: a null, a NaN or blanks.

    >>> as_text(pa.chunked_array([[7.0, float("nan"), None]])).to_pylist()
    ['7', None, None]
    """
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), None, values)
    text = values.cast(pa.string())
    return pc.if_else(pc.equal(pc.utf8_trim_whitespace(text), ""), None, text)


def check_type(name: str, kind: pa.DataType) -> None:
    """Refuse a column of a type that has no text, such as a list, with a SchemaError."""
    is_binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    if is_binary or pa.types.is_nested(kind) or pa.types.is_duration(kind):
        raise SchemaError(
            f"the source's column {name!r} is of type {kind}; "
            "give it as text, a number, a time or true and false"
        )


def _numbers(values: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_boolean(values.type) or pa.types.is_temporal(values.type):
        return _nulls(values, "number")
    is_real = pa.types.is_floating(values.type) or pa.types.is_decimal(values.type)
    if not (is_real or pa.types.is_integer(values.type)):
        text = pc.utf8_trim_whitespace(as_text(values))
        values = pc.if_else(pc.match_substring_regex(text, NUMBER), text, None)
    numbers = values.cast(ARROW_TYPES["number"], safe=False)
    return pc.if_else(pc.is_finite(numbers), numbers, None)


def _times(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """A time without an offset is UTC; what is finer than a microsecond is cut off."""
    if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
        return values.cast(ARROW_TYPES["time"], safe=False)
    if pa.types.is_boolean(values.type) or pa.types.is_primitive(values.type):
        return _nulls(values, "time")
    text = pc.utf8_trim_whitespace(as_text(values))
    text = pc.if_else(pc.match_substring_regex(text, TIME), text, None)
    text = pc.replace_substring_regex(text, r"(\.\d{6})\d+", r"\1")
    times = pd.to_datetime(text.to_pandas(), errors="coerce", utc=True, format="ISO8601")
    microseconds = times.astype("datetime64[us, UTC]")
    return pa.chunked_array([pa.array(microseconds, ARROW_TYPES["time"])])


def _flags(values: pa.ChunkedArray) -> pa.ChunkedArray:
    text = pc.utf8_lower(pc.utf8_trim_whitespace(as_text(values)))
    is_true = pc.is_in(text, TRUE)
    is_flag = pc.or_(is_true, pc.is_in(text, FALSE))
    return pc.if_else(is_flag, is_true, pa.scalar(None, pa.bool_()))


def _nulls(values: pa.ChunkedArray, kind: Kind) -> pa.ChunkedArray:
    return pa.chunked_array([pa.nulls(len(values), ARROW_TYPES[kind])])
