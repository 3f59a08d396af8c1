"""Rows that failed their checks: kept whole with the reason until their transaction is taken in.

A held row is known by the fingerprint of what the source said, and by its transaction_id where it has one. It leaves
quarantine when a transaction is newly taken in from the very same row (the portfolio was mended, or its time has come) or
under the same transaction_id (the source was mended), unless the source still offers the failed row beside it. A row without
a readable transaction_id, a torn line, and a row that contradicts a transaction already taken in stay as a record.
"""

import json
import sys
from collections.abc import Mapping
from datetime import datetime

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from features.schema import ARROW_TYPES, BY_NAME, Column, Kind
from pipeline.convert import as_text
from pipeline.lake.tables import Lake

# pandera imports pyspark's pandas wherever pyspark is installed, seconds of it, to find that pandas 3 is too new for it
sys.modules.setdefault("pyspark.pandas", None)  # type: ignore[arg-type]  # how Python writes that there is none
import pandera.pandas as pandera  # noqa: E402

QUARANTINE = pa.schema(
    [
        ("transaction_id", pa.string()),
        ("reason", pa.string()),
        ("row", pa.string()),
        ("row_digest", pa.int64()),
        ("quarantined_at", ARROW_TYPES["time"]),
    ]
)
WRONG_TYPE: dict[Kind, str] = {
    "text": "no text",
    "number": "no finite number",
    "time": "no ISO 8601 time",
    "flag": "neither true nor false",
}
NEVER_IN_FUTURE = ("event_time", "known_at", "label_known_at")
NEVER_BEFORE_EVENT = ("known_at", "label_known_at")


def failures(raw: Mapping[str, pa.ChunkedArray], rows: pa.Table, *, kinds: Mapping[str, Kind], now: datetime) -> pd.Series:
    """Return the reasons of the rows that fail, by row number: each column, its value, and the rule it breaks.

    `raw` are the source's values and `rows` the converted ones, both by our names.
    """
    frame = rows.to_pandas()
    told = [_wrong_type(name, raw[name], rows[name], kinds[name]) for name in raw]
    told += [_failed_checks(frame, now), *(_before_event(frame, name) for name in NEVER_BEFORE_EVENT if name in frame)]
    reasons = pd.concat([reason for reason in told if len(reason)] or [pd.Series(dtype="object")])
    joined: pd.Series = reasons.groupby(level=0).agg("; ".join)
    return joined


def _wrong_type(name: str, raw: pa.ChunkedArray, values: pa.ChunkedArray, kind: Kind) -> pd.Series:
    """Reasons of the values that could not be converted, and of required ones that are not there."""
    if not values.null_count:
        return pd.Series(dtype="object")
    text = as_text(raw)
    is_lost = pc.and_(pc.is_valid(text), pc.is_null(values))
    reasons = _series(text, is_lost).map(lambda value: f"{name} is {value!r}, {WRONG_TYPE[kind]}")
    if name in BY_NAME and BY_NAME[name].required:
        reasons = pd.concat([reasons, _series(text, pc.is_null(text)).map(lambda _: f"{name} is missing", na_action=None)])
    return reasons


def _series(values: pa.ChunkedArray, chosen: pa.ChunkedArray) -> pd.Series:
    """The chosen values by row number."""
    return pd.Series(
        values.filter(chosen).to_pylist(), index=pc.indices_nonzero(chosen).to_numpy().astype("int64"), dtype="object"
    )


def _failed_checks(rows: pd.DataFrame, now: datetime) -> pd.Series:
    checked = {name: _checks(BY_NAME[name], now) for name in rows.columns if name in BY_NAME}
    columns = {name: pandera.Column(None, checks=checks, nullable=True) for name, checks in checked.items() if checks}
    try:
        pandera.DataFrameSchema(columns).validate(rows, lazy=True)
    except pandera.errors.SchemaErrors as errors:
        cases = errors.failure_cases
        told = [
            f"{c} is {_shown(v)}, {k}" for c, k, v in zip(cases["column"], cases["check"], cases["failure_case"], strict=True)
        ]
        return pd.Series(told, index=cases["index"].astype("int64"), dtype="object")
    return pd.Series(dtype="object")


def _checks(column: Column, now: datetime) -> list["pandera.Check"]:
    checks = []
    if column.least is not None:
        checks.append(pandera.Check.ge(column.least, error=f"below {column.least:g}"))
    if column.most is not None:
        checks.append(pandera.Check.le(column.most, error=f"above {column.most:g}"))
    if column.pattern is not None:
        checks.append(pandera.Check.str_matches(rf"(?:{column.pattern})\Z", error=f"not of the form {column.pattern}"))
    if column.name in NEVER_IN_FUTURE:
        checks.append(pandera.Check.le(pd.Timestamp(now), error=f"in the future (now is {_shown(now)})"))
    return checks


def _before_event(rows: pd.DataFrame, name: str) -> pd.Series:
    """A fact is never known before it happened."""
    early = rows.loc[rows[name] < rows["event_time"], [name, "event_time"]]
    told = [
        f"{name} is {_shown(at)}, before event_time {_shown(event)}"
        for at, event in zip(early[name], early["event_time"], strict=True)
    ]
    return pd.Series(told, index=early.index, dtype="object")


def _shown(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return repr(value) if isinstance(value, str) else f"{value}"


def hold(rows: pa.Table, lake: Lake, *, writer: str) -> pa.Table:
    """Keep the failed rows that are not held yet, each once; returns those."""
    number = lake.version("quarantine") + 1
    held = lake.read("quarantine", columns=["row_digest"])
    fresh = ~rows["row_digest"].to_pandas().duplicated()
    if held is not None:
        fresh &= ~pc.is_in(rows["row_digest"], held["row_digest"].combine_chunks()).to_pandas()
    rows = rows.filter(pa.array(fresh))
    if rows.num_rows:
        lake.append("quarantine", rows, writer=writer, number=number)
    return rows


def as_quarantined(
    raw: pa.Table, transaction_ids: pa.ChunkedArray, reasons: pd.Series, digests: pa.Array, *, now: datetime
) -> pa.Table:
    """Return the failed rows (those with a reason, in its order) as they came, as JSON."""
    places = pa.array(reasons.index.to_numpy())
    text = [json.dumps(row, default=str, ensure_ascii=False) for row in raw.take(places).to_pylist()]
    return pa.table(
        [transaction_ids.take(places), reasons.tolist(), text, digests, pa.array([now] * len(reasons), ARROW_TYPES["time"])],
        schema=QUARANTINE,
    )


def settle(lake: Lake, *, transaction_ids: pa.ChunkedArray, digests: pa.Array, offered: set[int]) -> int:
    """Let go the held rows whose transaction is about to be newly taken in; returns how many.

    `offered` are the digests of failed rows that the source still has. Done before the transactions are appended: a run killed
    between the two is run again, and takes in what is missing or holds again what fails again.
    """
    held = lake.read("quarantine", columns=["transaction_id", "row_digest"])
    if held is None or not held.num_rows:
        return 0
    taken = pc.or_(
        pc.is_in(held["transaction_id"], transaction_ids.combine_chunks(), skip_nulls=True),
        pc.is_in(held["row_digest"], digests),
    )
    gone = held["row_digest"].filter(pc.and_not(taken, pc.is_in(held["row_digest"], pa.array(list(offered), pa.int64()))))
    if len(gone):
        lake.remove("quarantine", "row_digest", gone.combine_chunks())
    return len(gone)
