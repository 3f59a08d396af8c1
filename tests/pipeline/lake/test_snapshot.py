"""A snapshot knows its span from the files alone, and reads a column once for all who ask."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.lake.snapshot import NoDataError, last_moment, read_snapshot
from pipeline.lake.tables import Lake
from pipeline.portfolio import Portfolio
from tests.ingest_examples import portfolio_of, row, take_in

FIRST = datetime(2025, 5, 1, 10, 0, 0, 123457, tzinfo=UTC)
LAST = FIRST + timedelta(days=3)
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class WatchedLake(Lake):
    """A lake that notes which tables were read."""

    reads: list[str] = field(default_factory=list)

    def read(self, table, **options):  # type: ignore[no-untyped-def]  # the same as its parent's
        self.reads.append(table)
        return super().read(table, **options)


@pytest.fixture
def small(tmp_path: Path) -> tuple[Portfolio, WatchedLake]:
    """Three rows of which the middle one came first, in two commits."""
    middle = row("b", event_time=str(FIRST + timedelta(days=1)), channel="USD")
    others = [
        row("a", event_time=str(FIRST), channel="EUR"),
        row("c", event_time=str(LAST), channel="GBP"),
    ]
    lake, _ = take_in(tmp_path, [middle], [middle, *others])
    return portfolio_of(tmp_path), WatchedLake(lake.url, lake.portfolio)


def built(*names: str, since: datetime = FIRST) -> pa.Table:
    """Rows as features have them."""
    moments = pa.array([since] * len(names), pa.timestamp("us", tz="UTC"))
    return pa.table({"transaction_id": list(names), "as_of": moments})


def test_the_span_is_known_to_the_microsecond_and_no_row_is_read(
    small: tuple[Portfolio, WatchedLake],
) -> None:
    portfolio, lake = small
    assert read_snapshot(portfolio, lake).first == FIRST
    assert last_moment(portfolio, lake) == LAST + MICROSECOND
    assert lake.reads == []


def test_a_snapshot_begins_before_its_end(small: tuple[Portfolio, WatchedLake]) -> None:
    portfolio, lake = small
    snapshot = read_snapshot(portfolio, lake, until=FIRST + MICROSECOND)
    assert snapshot.transactions(["transaction_id"])["transaction_id"].to_pylist() == ["a"]
    with pytest.raises(NoDataError, match=r"no transactions before 2025-05-01T10:00:00Z; run"):
        read_snapshot(portfolio, lake, until=FIRST)


def test_before_anything_was_ingested_there_is_nothing(tmp_path: Path) -> None:
    portfolio, lake = portfolio_of(tmp_path), Lake(str(tmp_path), "small")
    assert lake.bounds("transactions", "as_of") is None
    with pytest.raises(NoDataError, match="portfolio small has no transactions; run strata ingest"):
        read_snapshot(portfolio, lake)
    with pytest.raises(NoDataError, match="portfolio small has no transactions; run strata ingest"):
        last_moment(portfolio, lake)


def test_columns_come_in_the_order_of_the_rows_from_one_read(
    small: tuple[Portfolio, WatchedLake],
) -> None:
    portfolio, lake = small
    snapshot = read_snapshot(portfolio, lake)
    both = snapshot.columns_of(built("c", "a", "b"), ["channel", "amount"])
    assert both["channel"].to_pylist() == ["GBP", "EUR", "USD"]
    fewer = snapshot.columns_of(built("b", since=LAST), ["channel"])
    assert fewer.to_pydict() == {"channel": ["USD"]}
    assert lake.reads == ["transactions"]


def test_what_was_not_read_yet_is_read(small: tuple[Portfolio, WatchedLake]) -> None:
    portfolio, lake = small
    snapshot = read_snapshot(portfolio, lake)
    snapshot.columns_of(built("c", since=LAST), ["channel"])
    earlier = snapshot.columns_of(built("a"), ["channel"])
    other = snapshot.columns_of(built("a"), ["account_id"])
    assert (earlier.to_pydict(), other.to_pydict()) == (
        {"channel": ["EUR"]},
        {"account_id": ["a1"]},
    )
    assert lake.reads == ["transactions"] * 3
