"""A database is read from its watermark on, and no row of that moment is lost."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from features.schema import SchemaError
from pipeline.ingest.ingest import Ingested, ingest
from pipeline.lake.tables import Lake
from tests.ingest_examples import NOW, portfolio_of, stored

COLUMNS = """
[columns]
transaction_id = "id"
event_time = "at"
account_id = "acc"
amount = "amt"
"""
DAY = "2025-05-{:02d} 10:00:00"


def put(folder: Path, *rows: tuple[object, ...]) -> None:
    with closing(sqlite3.connect(folder / "shop.db")) as database:
        database.execute(
            "CREATE TABLE IF NOT EXISTS p (id INT, at TEXT, acc TEXT, amt REAL, n INT)"
        )
        database.executemany("INSERT INTO p VALUES (?, ?, ?, ?, ?)", rows)
        database.commit()


def take(
    folder: Path, *, watermark: str = "n", query: str = "SELECT * FROM p", again: bool = False
) -> Ingested:
    source = f'url = "sqlite:///{folder / "shop.db"}"\nquery = "{query}"\nwatermark = "{watermark}"'
    portfolio = portfolio_of(folder, source=source, more=COLUMNS)
    return ingest(portfolio, Lake(str(folder / "lake"), "small"), now=NOW, again=again)


@pytest.mark.parametrize("watermark", ["n", "at"], ids=["a number", "a text"])
def test_only_rows_from_the_watermark_on_are_read(tmp_path: Path, watermark: str) -> None:
    put(tmp_path, *((n, DAY.format(n), "a", n, n) for n in range(1, 5)))
    first, second = take(tmp_path, watermark=watermark), take(tmp_path, watermark=watermark)
    assert (first.read, first.taken) == (4, 4)
    assert (second.read, second.known) == (1, 1)  # that of the greatest value, once more
    put(tmp_path, (5, DAY.format(4), "b", 5, 4), (6, DAY.format(6), "b", 6, 6))
    third = take(tmp_path, watermark=watermark)
    assert (third.read, third.taken, third.known) == (3, 2, 1)
    again = take(tmp_path, watermark=watermark, again=True)
    assert (again.read, again.known) == (6, 6)
    assert len(stored(Lake(str(tmp_path / "lake"), "small"), "transactions")) == 6


def test_another_query_reads_all_once_more(tmp_path: Path) -> None:
    put(tmp_path, (1, DAY.format(1), "a", 1, 1), (2, DAY.format(2), "b", 2, 2))
    take(tmp_path, query="SELECT * FROM p WHERE acc = 'a'")
    assert take(tmp_path).taken == 1


def test_rows_without_a_watermark_are_said_and_a_query_without_it_is_refused(
    tmp_path: Path,
) -> None:
    put(tmp_path, (1, DAY.format(1), "a", 1, None), (2, DAY.format(2), "a", 1, 2))
    assert any("1 rows have no n, and would not be seen" in said for said in take(tmp_path).doubts)
    with pytest.raises(SchemaError, match=r"watermark in .* is 'm', which the query does not sele"):
        take(tmp_path, watermark="m")
