"""Rows come from csv, parquet or a database as they are there, or one sentence says why not."""

import sqlite3
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.ingest.readers import SourceBatch, source_batches
from pipeline.portfolio import Portfolio, PortfolioError
from tests.ingest_examples import portfolio_of


def csv_portfolio(folder: Path, content: bytes) -> Portfolio:
    (folder / "rows.csv").write_bytes(content)
    return portfolio_of(folder, source='path = "rows.csv"')


def read(portfolio: Portfolio, *, rows: int = 2, csv_bytes: int = 1 << 20) -> SourceBatch:
    """All batches as one."""
    batches = list(source_batches(portfolio, rows=rows, csv_bytes=csv_bytes))
    assert batches
    return SourceBatch(
        rows=pa.concat_tables([b.rows for b in batches]),
        malformed=tuple(line for b in batches for line in b.malformed),
    )


def test_csv_values_are_text_as_they_stand_and_only_an_empty_field_is_null(tmp_path: Path) -> None:
    rows = read(csv_portfolio(tmp_path, b"id,amount,country\n007,1.50,NA\n8,nan,\n")).rows
    assert rows.to_pydict() == {
        "id": ["007", "8"],
        "amount": ["1.50", "nan"],
        "country": ["NA", None],
    }


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    assert read(csv_portfolio(tmp_path, b"\xef\xbb\xbfid,amount\n1,2\n")).rows.column_names == [
        "id",
        "amount",
    ]


def test_torn_csv_lines_come_beside_the_whole_ones(tmp_path: Path) -> None:
    batch = read(csv_portfolio(tmp_path, b"id,amount\n1,2\n3\n4,5,6\n7,8\n"))
    assert batch.rows["id"].to_pylist() == ["1", "7"]
    assert batch.malformed == ("3", "4,5,6")


def test_a_long_csv_comes_in_several_batches_with_all_its_lines(tmp_path: Path) -> None:
    lines = b"".join(b"%d,x\n" % n if n % 10 else b"%d\n" % n for n in range(1000))
    portfolio = csv_portfolio(tmp_path, b"id,name\n" + lines)
    assert len(list(source_batches(portfolio, csv_bytes=1000))) > 3
    batch = read(portfolio, csv_bytes=1000)
    assert sorted([*batch.rows["id"].to_pylist(), *batch.malformed], key=int) == [
        str(n) for n in range(1000)
    ]


def test_a_csv_with_a_header_alone_has_its_columns_and_no_rows(tmp_path: Path) -> None:
    rows = read(csv_portfolio(tmp_path, b"id,amount\n")).rows
    assert (rows.column_names, rows.num_rows) == (["id", "amount"], 0)


def test_parquet_comes_in_batches_of_its_own_types(tmp_path: Path) -> None:
    portfolio = portfolio_of(tmp_path)
    pq.write_table(pa.table({"id": [1, None, 9007199254740993]}), tmp_path / "rows.parquet")
    assert [batch.rows.num_rows for batch in source_batches(portfolio, rows=2)] == [2, 1]
    assert read(portfolio).rows["id"].to_pylist() == [1, None, 9007199254740993]


def test_a_parquet_without_rows_has_its_columns(tmp_path: Path) -> None:
    portfolio = portfolio_of(tmp_path)
    pq.write_table(pa.table({"id": pa.array([], pa.int64())}), tmp_path / "rows.parquet")
    assert read(portfolio).rows.column_names == ["id"]


def test_a_database_gives_what_its_query_selects(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "bank.db") as connection:
        connection.execute("CREATE TABLE payments (id INTEGER, amount REAL)")
        connection.executemany(
            "INSERT INTO payments VALUES (?, ?)", [(1, 2.5), (None, 3.0), (3, None)]
        )
    connection.close()
    query = "select id, amount from payments order by rowid"
    source = f'url = "sqlite:///{tmp_path}/bank.db"\nquery = "{query}"'
    assert read(portfolio_of(tmp_path, source=source), rows=10).rows.to_pydict() == {
        "id": [1, None, 3],
        "amount": [2.5, 3.0, None],
    }


def test_a_failed_query_says_why_and_keeps_the_password(tmp_path: Path) -> None:
    source = (
        f'url = "sqlite:///{tmp_path}/bank.db?secret=pass%20word"\nquery = "select * from nowhere"'
    )
    with pytest.raises(
        PortfolioError, match=r"the query of portfolio small failed .*; try its url and query"
    ) as refusal:
        read(portfolio_of(tmp_path, source=source))
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize(
    "url",
    ["postgresql://me:hush%21@nowhere.invalid/db", "no such url with hush!"],
    ids=["no server", "no url"],
)
def test_no_error_of_a_database_shows_the_password(tmp_path: Path, url: str) -> None:
    with pytest.raises(PortfolioError) as refusal:
        read(portfolio_of(tmp_path, source=f'url = "{url}"\nquery = "select 1"'))
    assert "hush" not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        pytest.param("rows.csv", b"", r"rows.csv cannot be read .*Empty", id="an empty csv"),
        pytest.param(
            "rows.csv",
            b"id,name\n1,Caf\xe9\n",
            r"rows.csv cannot be read .*UTF8",
            id="a csv that is not UTF-8",
        ),
        pytest.param(
            "rows.csv",
            b"id,id\n1,2\n",
            r"two columns named 'id'; rename one",
            id="a csv with one name twice",
        ),
        pytest.param(
            "rows.parquet",
            b"PAR1 and no more",
            r"rows.parquet cannot be read .*whole .parquet file",
            id="a torn parquet",
        ),
        pytest.param("rows.parquet", b"", r"rows.parquet cannot be read", id="an empty parquet"),
        pytest.param(
            "rows.xlsx",
            b"PK",
            r"rows.xlsx is neither .csv nor .parquet; convert it",
            id="another kind of file",
        ),
        pytest.param(
            "rows.csv",
            None,
            r"rows.csv of portfolio small is no file; put it there",
            id="a missing file",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_name(
    tmp_path: Path, name: str, content: bytes | None, sentence: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(PortfolioError, match=sentence):
        read(portfolio_of(tmp_path, source=f'path = "{name}"'))


def test_a_folder_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").mkdir()
    with pytest.raises(PortfolioError, match="is no file"):
        read(portfolio_of(tmp_path, source='path = "rows.csv"'))
