"""Of a database only rows at or above the greatest watermark so far are read."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline.ingest.ingest import ingest
from pipeline.ingest.ingested import Ingested
from pipeline.lake.tables import Lake
from pipeline.portfolio import PortfolioError
from tests.ingest_examples import NOW, portfolio_of

COLUMNS = (
    '[columns]\ntransaction_id = "id"\nevent_time = "at"\naccount_id = "card"\namount = "amount"\n'
)


def insert(folder: Path, rows: Iterable[tuple[str, float, object]]) -> None:
    with closing(sqlite3.connect(folder / "shop.db")) as database, database:
        database.execute(
            "CREATE TABLE IF NOT EXISTS pay (id PRIMARY KEY, at, card, amount, changed)"
        )
        given = [(name, amount, changed) for name, amount, changed in rows]
        database.executemany(
            "INSERT OR REPLACE INTO pay VALUES (?, '2025-05-01T10:00:00Z', 'a', ?, ?)", given
        )


def take(folder: Path, *, day: int, again: bool = False, watermark: str = "changed") -> Ingested:
    source = (
        f'url = "sqlite:///{folder}/shop.db"\nwatermark = "{watermark}"\n'
        "query = \"SELECT *, 'a:b' AS odd FROM pay\""
    )
    portfolio = portfolio_of(folder, source=source, more=COLUMNS)
    now = NOW + timedelta(days=day)
    return ingest(portfolio, Lake(str(folder / "lake"), "small"), now=now, again=again)


@pytest.mark.parametrize(
    "stamps",
    [("2025-05-01 10", "2025-05-02 10", "2025-05-03 10"), (1, 2, 3), (0.5, 1.5, 2.5)],
    ids=["texts", "whole numbers", "numbers"],
)
def test_rows_below_the_greatest_value_are_not_read_again(
    tmp_path: Path, stamps: tuple[object, object, object]
) -> None:
    first, second, third = stamps
    insert(tmp_path, [("1", 10.0, first), ("2", 20.0, second)])
    assert (done := take(tmp_path, day=0)).read == done.taken == 2
    insert(tmp_path, [("3", 30.0, second), ("4", 40.0, third), ("2", 21.0, third)])
    done = take(tmp_path, day=1)
    assert (done.read, done.taken, done.corrected) == (3, 3, 1)
    assert (take(tmp_path, day=2).read, take(tmp_path, day=3).known) == (2, 2)


def test_with_again_all_rows_are_read(tmp_path: Path) -> None:
    insert(tmp_path, [("1", 10.0, 1), ("2", 20.0, 2)])
    take(tmp_path, day=0)
    assert take(tmp_path, day=1).read == 1
    assert take(tmp_path, day=2, again=True).read == 2


def test_a_row_without_a_watermark_is_read_each_time_and_said(tmp_path: Path) -> None:
    insert(tmp_path, [("1", 10.0, None), ("2", 20.0, 2), ("3", 20.0, 1)])
    assert any("1 rows have no changed" in one for one in take(tmp_path, day=0).doubts)
    assert take(tmp_path, day=1).read == 2


def test_a_watermark_that_the_query_lacks_is_refused(tmp_path: Path) -> None:
    insert(tmp_path, [("1", 10.0, 1)])
    with pytest.raises(PortfolioError, match=r"watermark = 'moved' .* is no column of its query"):
        take(tmp_path, day=0, watermark="moved")
