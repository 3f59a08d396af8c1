"""Random streams of transactions and labels, with ties, late rows, nulls and reversed labels."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import strategies as st

from features.build import KEYS, BuildConfig, build
from features.declarations import Group
from features.groups.catalogue import portfolio_groups
from features.ip.addresses import packaged_database
from features.schema import ARROW_TYPES, LABELS, transactions_schema

CONFIG = BuildConfig(ip_databases=(packaged_database(),), engine="duckdb")
START = datetime(2025, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)

# Few instants, so that rows and labels meet at the same microsecond and at the edges of the
# windows.
_days = st.sampled_from([0, 1, 2, 7, 8, 14, 30, 31, 89, 90, 91, 120, 180]).map(
    lambda days: days * DAY
)
_within = st.sampled_from(
    [timedelta(0), timedelta(0), MICROSECOND, timedelta(hours=1), timedelta(hours=13)]
)
_instants = st.builds(lambda day, within: START + day + within, _days, _within)
_late = st.sampled_from([timedelta(0), timedelta(0), timedelta(hours=2), 3 * DAY])
_places = st.sampled_from([(None, None), (51.5, -0.1), (48.9, 2.4), (48.9, None), (40.7, -74.0)])
_addresses = st.sampled_from(
    [
        None,
        "81.2.69.142",
        "8.8.8.8",
        "8.8.8.9",
        " ::ffff:8.8.8.10",
        "2001:4860:4860::8888",
        "10.0.0.1",
        "nonsense",
    ]
)
_countries = st.sampled_from([None, "GB", "US"])

transactions = st.fixed_dictionaries(
    {
        "as_of": _instants,
        "late": _late,
        "account_id": st.sampled_from(["a", "b", None]),
        "amount": st.sampled_from([0.0, 0.1, 1.0, 3.0, 19.99, 250.0]),
        "ip_address": _addresses,
        "device_id": st.sampled_from(["d", "e", None]),
        "place": _places,
        "country": _countries,
        "merchant_id": st.sampled_from(["m", "n", None]),
        "merchant_place": _places,
        "merchant_country": _countries,
        "merchant_category": st.sampled_from(["5411", None]),
        "counterparty_id": st.sampled_from(["a", "b", "r", None]),
        "channel": st.sampled_from(["online", None]),
        "declined": st.sampled_from([True, False, None]),
        "account_opened_at": st.sampled_from([START - 100 * DAY, None]),
        "credit_score": st.sampled_from([600.0, 680.5, None]),
        "social_event": st.sampled_from(["breach_notice", None]),
        "social_event_at": st.one_of(st.none(), _instants),
    }
)
_waits = st.sampled_from(
    [
        -DAY,
        timedelta(0),
        MICROSECOND,
        DAY,
        7 * DAY,
        30 * DAY,
        90 * DAY,
        120 * DAY,
        120 * DAY + MICROSECOND,
    ]
)
# a line of the label ledger: fraud or not, and how long after the transaction
ledger_lines = st.tuples(st.booleans(), _waits)


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Transactions in order of as_of, and the ledger of their labels."""

    transactions: pa.Table
    labels: pa.Table

    def until(self, rows: int) -> "Stream":
        """The first rows, and what the ledger said when the last of them came."""
        first = self.transactions.slice(0, rows)
        return Stream(
            transactions=first,
            labels=self.labels.filter(pc.field("known_at") <= first["as_of"][-1]),
        )

    def after(self, moment: datetime) -> "Stream":
        """The rows from this moment on, with the whole ledger."""
        from_then = pc.field("as_of") >= pa.scalar(moment, ARROW_TYPES["time"])
        return Stream(transactions=self.transactions.filter(from_then), labels=self.labels)


def stream_of(rows: list[dict[str, Any]], ledgers: list[list[tuple[bool, timedelta]]]) -> Stream:
    """Rows as `transactions` draws them, t000 being the first drawn.

    Each with its lines of the ledger.
    """
    named = [_columns(f"t{number:03d}", row) for number, row in enumerate(rows)]
    lines = [
        {
            "transaction_id": row["transaction_id"],
            "is_fraud": is_fraud,
            "known_at": row["as_of"] + wait,
            "source": "test",
        }
        for row, ledger in zip(named, ledgers, strict=False)
        for is_fraud, wait in ledger
    ]
    in_order = sorted(named, key=lambda row: (row["as_of"], row["transaction_id"]))
    return Stream(
        transactions=pa.Table.from_pylist(in_order, schema=transactions_schema()),
        labels=pa.Table.from_pylist(lines, schema=LABELS),
    )


def _columns(name: str, row: dict[str, Any]) -> dict[str, Any]:
    latitude, longitude = row.get("place", (None, None))
    merchant_latitude, merchant_longitude = row.get("merchant_place", (None, None))
    return row | {
        "transaction_id": name,
        "event_time": row["as_of"] - row.get("late", timedelta(0)),
        "latitude": latitude,
        "longitude": longitude,
        "merchant_latitude": merchant_latitude,
        "merchant_longitude": merchant_longitude,
    }


@st.composite
def streams(draw: st.DrawFn, *, least: int = 2, most: int = 30) -> Stream:
    """Draw a stream; some transactions have no label, some have one that is turned round later."""
    rows = draw(st.lists(transactions, min_size=least, max_size=most))
    ledgers = draw(
        st.lists(st.lists(ledger_lines, max_size=3), min_size=len(rows), max_size=len(rows))
    )
    return stream_of(rows, ledgers)


ALL_GROUPS = portfolio_groups(transactions_schema().names)


def built(
    stream: Stream,
    groups: tuple[Group, ...] = ALL_GROUPS,
    *,
    since: datetime | None = None,
    config: BuildConfig = CONFIG,
) -> pd.DataFrame:
    """The stream's features by transaction_id, in the order they came."""
    table = build(stream.transactions, stream.labels, groups, config=config, since=since)
    frame: pd.DataFrame = table.to_pandas()
    return frame.set_index("transaction_id")


def built_both_ways(stream: Stream, groups: tuple[Group, ...]) -> list[pd.DataFrame]:
    """The stream's features as windows over all of it, and as a batch joined with its past."""
    first = min(stream.transactions["as_of"].to_pylist())
    return [built(stream, groups), built(stream, groups, since=first)]


def differing(left: pd.DataFrame, right: pd.DataFrame) -> list[str]:
    """The features in which two builds differ: in a text, a null, or a billionth of a number."""
    assert left.index.tolist() == right.index.tolist()
    assert left.columns.tolist() == right.columns.tolist()
    return [
        name for name in left.columns if name not in KEYS and not _equal(left[name], right[name])
    ]


def _equal(left: pd.Series, right: pd.Series) -> bool:
    if not np.array_equal(left.isna(), right.isna()):
        return False
    if not pd.api.types.is_float_dtype(left):
        return left.dropna().tolist() == right.dropna().tolist()
    counted = any(word in str(left.name) for word in ("_count_", "_frauds_", "_run", "_new"))
    close = (left == right) if counted else np.isclose(left, right, rtol=1e-9, atol=1e-9)
    return bool(np.all(close | left.isna()))


def facts(group: str, *rows: dict[str, Any], config: BuildConfig = CONFIG) -> pd.DataFrame:
    """A group's features of payments of 10 by the account a, each on its `day` after START."""
    named = [
        {"account_id": "a", "amount": 10.0, "as_of": START + row.get("day", 0) * DAY} | row
        for row in rows
    ]
    chosen = tuple(one for one in ALL_GROUPS if one.name == group)
    return built(stream_of(named, []), chosen, config=config).sort_index()
