"""The checks that a row must pass, each with the reason it fails by."""

from collections.abc import Mapping
from datetime import datetime

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from features.schema import BY_NAME, Column, Kind
from pipeline.ingest.coercion import as_text

WRONG_TYPE: dict[Kind, str] = {
    "text": "no text",
    "number": "no finite number",
    "time": "no ISO 8601 time",
    "flag": "neither true nor false",
}
NEVER_IN_FUTURE = ("event_time", "known_at", "label_known_at")
NEVER_BEFORE_EVENT = ("known_at", "label_known_at")


def failures(
    raw: Mapping[str, pa.ChunkedArray], rows: pa.Table, *, kinds: Mapping[str, Kind], now: datetime
) -> pd.Series:
    """Return why rows fail, by row number: each column, its value, and the rule it breaks.

    `raw` are the source's values and `rows` the converted ones, both by our names.
    """
    frame = rows.to_pandas()
    found = [_wrong_type(name, raw[name], rows[name], kinds[name]) for name in raw]
    found.append(_failed_checks(frame, now))
    found += [_before_event(frame, name) for name in NEVER_BEFORE_EVENT if name in frame]
    reasons = pd.concat([some for some in found if len(some)] or [pd.Series(dtype="object")])
    joined: pd.Series = reasons.groupby(level=0).agg("; ".join)
    return joined


def _wrong_type(name: str, raw: pa.ChunkedArray, values: pa.ChunkedArray, kind: Kind) -> pd.Series:
    """Reasons of the values that could not be converted, and of required ones that lack."""
    if not values.null_count:
        return pd.Series(dtype="object")
    text = as_text(raw)
    is_lost = pc.and_(pc.is_valid(text), pc.is_null(values))
    reasons = _series(text, is_lost).map(lambda value: f"{name} is {value!r}, {WRONG_TYPE[kind]}")
    if name in BY_NAME and BY_NAME[name].required:
        absent = _series(text, pc.is_null(text))
        missing = absent.map(lambda _: f"{name} is missing", na_action=None)
        reasons = pd.concat([reasons, missing])
    return reasons


def _series(values: pa.ChunkedArray, chosen: pa.ChunkedArray) -> pd.Series:
    """The chosen values by row number."""
    return pd.Series(
        values.filter(chosen).to_pylist(),
        index=pc.indices_nonzero(chosen).to_numpy().astype("int64"),
        dtype="object",
    )


def _failed_checks(rows: pd.DataFrame, now: datetime) -> pd.Series:
    found = [pd.Series(dtype="object")]
    for name in rows.columns:
        if name in BY_NAME:
            found += _broken_rules(rows[name], BY_NAME[name], now)
    reasons: pd.Series = pd.concat(found)
    return reasons


def _broken_rules(values: pd.Series, column: Column, now: datetime) -> list[pd.Series]:
    """Reasons of the values that break a rule of their column, a series for each rule."""
    broken: list[tuple[pd.Series, str]] = []
    if column.least is not None:
        broken.append((values < column.least, f"below {column.least:g}"))
    if column.most is not None:
        broken.append((values > column.most, f"above {column.most:g}"))
    if column.pattern is not None:
        fits = values.str.fullmatch(column.pattern, na=True)
        broken.append((~fits, f"not of the form {column.pattern}"))
    if column.name in NEVER_IN_FUTURE:
        broken.append((values > pd.Timestamp(now), f"in the future (now is {_shown(now)})"))
    return [_reasons(values[is_broken], rule) for is_broken, rule in broken]


def _reasons(values: pd.Series, rule: str) -> pd.Series:
    reasons = [f"{values.name} is {_shown(value)}, {rule}" for value in values]
    return pd.Series(reasons, index=values.index, dtype="object")


def _before_event(rows: pd.DataFrame, name: str) -> pd.Series:
    """A fact is never known before it happened."""
    early = rows.loc[rows[name] < rows["event_time"], [name, "event_time"]]
    reasons = [
        f"{name} is {_shown(at)}, before event_time {_shown(event)}"
        for at, event in zip(early[name], early["event_time"], strict=True)
    ]
    return pd.Series(reasons, index=early.index, dtype="object")


def _shown(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return repr(value) if isinstance(value, str) else f"{value}"
