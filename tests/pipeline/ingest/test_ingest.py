"""What becomes of a row that goes in: its columns, its as_of, and what makes two rows the same."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from features.schema import SchemaError
from pipeline.disk.turns import LOCKS
from pipeline.ingest.ingest import ingest
from pipeline.lake.tables import Lake
from tests.ingest_examples import (
    FEED,
    NOW,
    PARQUET,
    Row,
    portfolio_of,
    row,
    stored,
    take_in,
    write_rows,
)

COLUMNS = """[columns]
transaction_id = "transaction_id"
event_time = "event_time"
account_id = "account_id"
"""
HOURLY = f'{PARQUET}\ndelay = "1h"'
TEN = datetime(2025, 5, 1, 10, tzinfo=UTC)


def test_columns_are_mapped_and_those_without_a_meaning_stay_out(tmp_path: Path) -> None:
    columns = f'{COLUMNS}amount = "TX"\nbasket_size = "BASKET"\n'
    more = f'{columns}[groups.extra.basket_size]\ngroup = "amount"'
    lake, _ = take_in(tmp_path, [{**row(), "TX": "3", "BASKET": "4", "note": "x"}], more=more)
    (taken,) = stored(lake, "transactions")
    assert (taken["amount"], taken["basket_size"]) == (3.0, 4.0)
    assert not {"note", "TX", "is_fraud", "latitude"} & set(taken)


@pytest.mark.parametrize(
    ("changes", "source", "expected"),
    [
        pytest.param({}, PARQUET, (TEN, TEN), id="a historical row"),
        pytest.param(
            {"known_at": "2025-05-01T11:00:00Z"},
            HOURLY,
            (TEN.replace(hour=11), TEN),
            id="in time",
        ),
        pytest.param(
            {"known_at": "2025-05-01T11:00:00.000001Z"},
            HOURLY,
            (TEN.replace(hour=11, microsecond=1),) * 2,
            id="late by a microsecond",
        ),
        pytest.param({"known_at": None}, PARQUET, (TEN, TEN), id="no time of arrival"),
        pytest.param({}, FEED, (NOW, NOW), id="a late row of a feed"),
    ],
)
def test_a_row_stands_at_its_event_time_or_where_it_came_late_at_its_arrival(
    tmp_path: Path, changes: Row, source: str, expected: tuple[datetime, datetime]
) -> None:
    lake, _ = take_in(tmp_path, [row(**changes)], source=source)
    (taken,) = stored(lake, "transactions")
    assert (taken["known_at"], taken["as_of"]) == expected


@pytest.mark.parametrize(
    ("said", "again"),
    [
        pytest.param(
            [row("7")], [dict(reversed(row("7").items()))], id="in another order of columns"
        ),
        pytest.param([row("7")], [row("7", country=None)], id="with a column that is null"),
        pytest.param([row("7")], [row("7", note="new")], id="with a column of no meaning"),
        pytest.param(
            [row("7")],
            [row("7", amount="12.50", event_time="2025-05-01T12:00:00+02:00")],
            id="in other words",
        ),
        pytest.param(
            [row("7")], [row(7, amount=12.5, event_time=TEN, is_fraud=False)], id="in other types"
        ),
        pytest.param([row("7")], [row(7), row(None)], id="with an integer id beside a null"),
    ],
)
def test_the_same_said_otherwise_is_known(
    tmp_path: Path, said: list[Row], again: list[Row]
) -> None:
    lake, (_, second) = take_in(tmp_path, said, again)
    assert (second.taken, second.known, lake.count("transactions")) == (0, 1, 1)


def test_a_source_without_rows_changes_nothing(tmp_path: Path) -> None:
    lake, (done,) = take_in(tmp_path, [])
    assert (
        done.read,
        [lake.exists(table) for table in ("transactions", "quarantine", "labels")],
    ) == (0, [False] * 3)


@pytest.mark.parametrize(
    ("columns", "more", "sentence"),
    [
        pytest.param(
            ["transaction_id", "event_time", "amount"],
            "",
            r"small lacks account_id; the source has transaction_id, .*write account_id =",
            id="required",
        ),
        pytest.param(
            [*row()],
            f'{COLUMNS}amount = "TX"',
            r"amount is mapped to 'TX', which the source lacks; rows.parquet has .*; mend amount",
            id="mapped",
        ),
        pytest.param(
            [*row()], COLUMNS, r"\[columns\] of .* lacks amount; .* write amount =", id="not mapped"
        ),
        pytest.param(
            [*row()], '[groups.extra.basket]\ngroup = "amount"', r"small lacks basket", id="extra"
        ),
    ],
)
def test_a_missing_column_is_refused_before_anything_is_written(
    tmp_path: Path, columns: list[str], more: str, sentence: str
) -> None:
    portfolio = portfolio_of(tmp_path, more=more)
    write_rows(portfolio, [{name: value for name, value in row().items() if name in columns}])
    with pytest.raises(SchemaError, match=sentence):
        ingest(portfolio, Lake(str(tmp_path / "lake"), "small"), now=NOW)
    assert [*(tmp_path / "lake").glob("*")] in ([], [tmp_path / "lake" / LOCKS])


def test_what_is_not_mapped_is_not_read_though_it_has_our_name(tmp_path: Path) -> None:
    more = f'{COLUMNS}amount = "TX"'
    lake, _ = take_in(tmp_path, [row(TX="3", country="FR", amount="9")], more=more)
    (taken,) = stored(lake, "transactions")
    assert (taken["amount"], "country" in taken) == (3.0, False)


def test_progress_is_told_the_records_of_each_file(tmp_path: Path) -> None:
    portfolio = portfolio_of(tmp_path)
    write_rows(portfolio, [row(f"t{n}") for n in range(5)])
    shown: list[str] = []
    lake = Lake(str(tmp_path / "lake"), "small")
    ingest(portfolio, lake, now=NOW, progress=Told(shown), batch_rows=2)
    assert shown == ["reading small", "5"]


class Told:
    """A progress that keeps what it is told."""

    def __init__(self, shown: list[str]) -> None:
        self.shown = shown

    @contextmanager
    def step(self, name: str, total: int | None = None) -> Iterator["Told"]:
        assert total is None
        self.shown.append(name)
        yield self

    def advance(self, count: int = 1) -> None:
        self.shown.append(str(count))
