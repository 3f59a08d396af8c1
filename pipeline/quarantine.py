"""Rows that failed their checks: kept whole with the reason, and taken in when they come again mended.

Values are converted to the column's type first, then checked by pandera; every failure of a row is told.
"""

import json
from collections.abc import Mapping
from datetime import datetime

import pandas as pd
import pandera.pandas as pandera
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from features.schema import BY_NAME, Column, Kind
from pipeline.lake import Lake

QUARANTINE = pa.schema(
    [
        ("row_digest", pa.int64()),
        ("reason", pa.string()),
        ("row", pa.string()),
        ("quarantined_at", pa.timestamp("us", tz="UTC")),
    ]
)
WRONG_TYPE: dict[Kind, str] = {
    "text": "no text",
    "number": "no finite number",
    "time": "no ISO 8601 time",
    "flag": "neither true nor false",
}
FLAGS = {"1": True, "0": False, "true": True, "false": False, "1.0": True, "0.0": False, "t": True, "f": False}


def digests(rows: pd.DataFrame) -> pd.Series:
    """Fingerprint of each row's values: equal rows have equal digests, in every process."""
    if rows.columns.empty:
        return pd.Series(0, index=rows.index, dtype="int64")
    hashed = pd.util.hash_pandas_object(rows, index=False)
    return pd.Series(hashed.to_numpy().view("int64"), index=rows.index)


def convert(values: pd.Series, kind: Kind) -> pd.Series:
    """Return the values in the kind's type; what cannot be converted becomes null."""
    if kind == "time":
        if pd.api.types.is_numeric_dtype(values):
            return pd.Series(pd.NaT, index=values.index, dtype="datetime64[us, UTC]")
        times = pd.to_datetime(values, errors="coerce", utc=True, **({} if _is_time(values) else {"format": "ISO8601"}))
        return times.astype("datetime64[us, UTC]")
    if kind == "number":
        numbers = pd.to_numeric(values, errors="coerce").astype("float64")
        return numbers.where(numbers.abs() != float("inf"))
    if kind == "flag":
        return values.astype("string").str.lower().map(FLAGS).astype("boolean")
    text = values.astype("string")
    return text.where(text.str.strip() != "")


def _is_time(values: pd.Series) -> bool:
    return pd.api.types.is_datetime64_any_dtype(values)


def failures(raw: pd.DataFrame, rows: pd.DataFrame, *, kinds: Mapping[str, Kind], now: datetime) -> pd.Series:
    """Return the reason for each row that fails (index of `rows`): what a value is, and what it must be."""
    told = [_wrong_types(raw[name], rows[name], kinds[name]) for name in rows.columns]
    told.append(_failed_checks(rows, now))
    reasons = pd.concat(told)
    return reasons.groupby(level=0).agg("; ".join) if len(reasons) else pd.Series(dtype="object")


def _wrong_types(raw: pd.Series, values: pd.Series, kind: Kind) -> pd.Series:
    blank = raw.astype("string").str.strip() == ""
    lost = raw[raw.notna() & ~blank.fillna(False) & values.isna()]
    return pd.Series([f"{values.name} is {value!r}, {WRONG_TYPE[kind]}" for value in lost.astype("string")], index=lost.index, dtype="object")


def _failed_checks(rows: pd.DataFrame, now: datetime) -> pd.Series:
    columns = {name: _pandera_column(BY_NAME[name], now) for name in rows.columns if name in BY_NAME}
    try:
        pandera.DataFrameSchema(columns, checks=_order_checks(rows)).validate(rows, lazy=True)
    except pandera.errors.SchemaErrors as errors:
        cases = errors.failure_cases.dropna(subset="index").drop_duplicates(["index", "column", "check"])
        told = [_told(c, k, v) for c, k, v in zip(cases["column"], cases["check"], cases["failure_case"], strict=True)]
        return pd.Series(told, index=cases["index"].astype(rows.index.dtype), dtype="object").groupby(level=0).first()
    return pd.Series(dtype="object")


def _told(column: str, check: str, value: object) -> str:
    if check == "not_nullable":
        return f"{column} is missing"
    return f"{column} is {value}, {check}" if column in BY_NAME else check


def _pandera_column(column: Column, now: datetime) -> "pandera.Column":
    checks = []
    if column.least is not None:
        checks.append(pandera.Check.ge(column.least, error=f"below {column.least:g}"))
    if column.most is not None:
        checks.append(pandera.Check.le(column.most, error=f"above {column.most:g}"))
    if column.pattern is not None:
        checks.append(pandera.Check.str_matches(rf"(?:{column.pattern})\Z", error=f"not of the form {column.pattern}"))
    if column.name in {"event_time", "known_at", "label_known_at"}:
        checks.append(pandera.Check.le(pd.Timestamp(now), error=f"in the future (now is {now:%Y-%m-%dT%H:%M:%SZ})"))
    return pandera.Column(None, checks=checks, nullable=not column.required)


def _order_checks(rows: pd.DataFrame) -> list["pandera.Check"]:
    """A fact is never known before it happened."""
    later = [name for name in ("known_at", "label_known_at") if name in rows.columns and "event_time" in rows.columns]
    return [
        pandera.Check(
            lambda frame, name=name: ~(frame[name] < frame["event_time"]).fillna(False),
            error=f"{name} is before event_time",
            ignore_na=False,
        )
        for name in later
    ]


def as_quarantined(raw: pd.DataFrame, digest: pd.Series, reasons: pd.Series, *, now: datetime) -> pa.Table:
    """Return the failed rows as they came (JSON), each with its reason."""
    bad = raw.loc[reasons.index]
    text = [json.dumps(row, default=str, ensure_ascii=False) for row in bad.to_dict("records")]
    return pa.table(
        {"row_digest": digest.loc[reasons.index].to_numpy(), "reason": list(reasons), "row": text, "quarantined_at": [now] * len(bad)},
        schema=QUARANTINE,
    )


def settle(lake: Lake, taken: pd.Series) -> int:
    """Take out of quarantine the rows (by digest) that have since been taken in; returns how many."""
    held = lake.read("quarantine", columns=["row_digest"])
    if held is None or not held.num_rows:
        return 0
    settled = held["row_digest"].filter(pc.is_in(held["row_digest"], pa.array(taken.unique())))
    if len(settled):
        names = ", ".join(str(number) for number in settled.to_pylist())
        DeltaTable(lake.uri("quarantine")).delete(f"row_digest IN ({names})")
    return len(settled)


