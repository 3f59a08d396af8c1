"""Rows come from files or a database as they are there, or one sentence says why not."""

import gzip
import json
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from pipeline.portfolio import Portfolio, PortfolioError
from pipeline.sources.delivery import Delivery, workbench
from pipeline.sources.files import source_files
from pipeline.sources.json_files import ObjectCounter
from pipeline.sources.readers import read_file, read_query
from pipeline.sources.text_files import LineCounter
from tests.ingest_examples import portfolio_of

Rows = list[dict[str, Any]]
NAMES = b"id,amount\n"


def portfolio_with(
    folder: Path, content: bytes, *, name: str = "rows.csv", more: str = ""
) -> Portfolio:
    (folder / name).write_bytes(content)
    return portfolio_of(folder, source=f'path = "{name}"\n{more}')


def read(portfolio: Portfolio) -> tuple[Rows, list[str], Delivery]:
    """The rows and the torn lines of all files, and the last delivery."""
    rows: Rows = []
    torn: list[str] = []
    folder = portfolio.file.parent
    for file in [None] if portfolio.source.url else source_files(portfolio):
        with workbench(folder) as connection:
            delivery = (
                read_query(portfolio, connection)
                if file is None
                else read_file(file, portfolio, connection, folder)
            )
            found = connection.execute("SELECT * FROM raw").fetchall()
            rows += [dict(zip(delivery.names, row[1:], strict=True)) for row in found]
            if delivery.torn:
                torn += [line for (line,) in connection.execute("SELECT line FROM torn").fetchall()]
    return rows, torn, delivery


def test_csv_values_are_text_as_they_stand_and_only_an_empty_field_is_null(tmp_path: Path) -> None:
    rows, *_ = read(portfolio_with(tmp_path, b"id,amount,country\n007,1.50,NA\n8,nan,\n"))
    assert rows == [
        {"id": "007", "amount": "1.50", "country": "NA"},
        {"id": "8", "amount": "nan", "country": None},
    ]


@pytest.mark.parametrize(
    ("content", "more"),
    [
        pytest.param(b"\xef\xbb\xbfid,name\n1,Zo\xc3\xab\n", "", id="a mark of UTF-8"),
        pytest.param("id,name\n1,Zoë\n".encode("utf-16"), "", id="UTF-16"),
        pytest.param(b"id,name\n1,Zo\xeb\n", "", id="Latin-1"),
        pytest.param(b"id;name\r\n1;Zo\xeb\r\n", "", id="semicolons and Windows' line ends"),
        pytest.param(b"id\tname\n1\tZo\xc3\xab\n", "", id="tabs"),
        pytest.param(b"id|name\n1|Zo\xc3\xab\n", "", id="bars"),
        pytest.param(b"id,name\r1,Zo\xc3\xab\r", "", id="carriage returns alone"),
        pytest.param("id,name\r1,Zoë\r".encode("utf-16"), "", id="the same in UTF-16"),
        pytest.param(b"id,name\r\n1,Zo\xc3\xab\n\r\n", "", id="line ends of two kinds"),
        pytest.param("id,name\n1,Zoë\n".encode("utf-16-le"), "", id="UTF-16 without its mark"),
        pytest.param(b"id~name\n1~Zo\xc3\xab\n", 'csv = { delimiter = "~" }', id="as is said"),
        pytest.param(b"id,name\n1,Zo\x89\n", 'csv = { encoding = "cp437" }', id="DOS"),
        pytest.param(
            b"export of Monday\n\nid,name\n1,Zo\xc3\xab\n",
            '[columns]\ntransaction_id = "id"',
            id="lines above the names",
        ),
        pytest.param(b'"id","name"\n"1","Zo\xc3\xab"\n', "", id="quotes"),
        pytest.param(b"id,name\n\n1,Zo\xc3\xab\n\n", "", id="blank lines"),
        pytest.param(b"id,name\n1,Zo\xc3\xab", "", id="no last line end"),
    ],
)
def test_a_csv_file_is_read_however_it_is_written(
    tmp_path: Path, content: bytes, more: str
) -> None:
    rows, torn, delivery = read(portfolio_with(tmp_path, content, more=more))
    assert (rows, torn, delivery.records) == ([{"id": "1", "name": "Zoë"}], [], 1)


def test_the_euro_sign_of_windows_is_read(tmp_path: Path) -> None:
    rows, _, delivery = read(portfolio_with(tmp_path, b"id,amount\n1,5 \x80\n"))
    assert rows == [{"id": "1", "amount": "5 €"}]
    assert delivery.doubts == ("its encoding is taken to be cp1252",)


def test_a_csv_without_names_has_numbered_ones(tmp_path: Path) -> None:
    rows, _, delivery = read(portfolio_with(tmp_path, b"7,2025-05-01,12.5\n8,2025-05-02,3\n"))
    assert [row["column2"] for row in rows] == ["12.5", "3"]
    assert "no names above its rows" in delivery.doubts[0]


def zipped(folder: Path, content: bytes) -> Path:
    with zipfile.ZipFile(folder / "rows.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rows.csv", content)
    return folder / "rows.zip"


def gzipped(folder: Path, content: bytes) -> Path:
    (folder / "rows.csv.gz").write_bytes(gzip.compress(content))
    return folder / "rows.csv.gz"


def zstandard(folder: Path, content: bytes) -> Path:
    file = folder / "rows.csv.zst"
    with pa.CompressedOutputStream(str(file), "zstd") as stream:
        stream.write(content)
    return file


def gzipped_without_saying(folder: Path, content: bytes) -> Path:
    return gzipped(folder, content).rename(folder / "rows.csv")


@pytest.mark.parametrize("pack", [zipped, gzipped, zstandard, gzipped_without_saying])
def test_a_packed_file_is_read_as_the_file_in_it(
    tmp_path: Path, pack: Callable[[Path, bytes], Path]
) -> None:
    file = pack(tmp_path, NAMES + b"1,2\n3\n")
    rows, torn, _ = read(portfolio_of(tmp_path, source=f'path = "{file.name}"'))
    assert (rows, torn) == ([{"id": "1", "amount": "2"}], ["3"])


def test_json_lines_come_with_the_names_that_any_of_them_has(tmp_path: Path) -> None:
    lines = b'{"id": 1, "amount": 2.5}\n{"id": "x", "at": null}\nnot json\n[1]\n{"a \\"b": true}\n'
    rows, torn, _ = read(portfolio_with(tmp_path, lines, name="rows.jsonl"))
    assert rows == [
        {"id": "1", "amount": "2.5", "at": None, 'a "b': None},
        {"id": "x", "amount": None, "at": None, 'a "b': None},
        {"id": None, "amount": None, "at": None, 'a "b': "true"},
    ]
    assert sorted(torn) == ["[1]", "not json"]


@pytest.mark.parametrize(
    "content",
    [
        b'[{"id": 1, "in": {"a": [1, {"b": "}]"}]}}, {"id": "\\"[{", "at": null}]',
        b'\xef\xbb\xbf [\n  {\n    "id": 1,\n    "in": {"a": [1, {"b": "}]"}]}\n  },\n'
        b'  {"id": "\\"[{",\n "at": null}\n]\n\n',
    ],
    ids=["in one line", "over many lines"],
)
def test_a_json_list_of_objects_is_read_as_its_objects(tmp_path: Path, content: bytes) -> None:
    rows, torn, delivery = read(portfolio_with(tmp_path, content, name="rows.json"))
    assert [row["id"] for row in rows] == ["1", '"[{']
    assert (torn, delivery.records, delivery.is_ended) == ([], 2, True)


def test_a_zip_is_read_in_the_form_of_the_file_in_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "rows.zip", "w") as archive:
        archive.writestr("rows.jsonl", '{"id": 1}\n')
        archive.writestr("__MACOSX/._rows.jsonl", "what macOS adds")
    rows, *_ = read(portfolio_of(tmp_path, source='path = "rows.zip"'))
    assert rows == [{"id": "1"}]


def test_columns_without_a_name_are_numbered(tmp_path: Path) -> None:
    *_, delivery = read(portfolio_with(tmp_path, b"id,,\n1,2,3\n"))
    assert delivery.names == ("id", "column1", "column2")


def test_a_json_list_may_be_packed(tmp_path: Path) -> None:
    content = gzip.compress(b'[{"id": 1}]')
    rows, *_ = read(portfolio_with(tmp_path, content, name="rows.json.gz"))
    assert rows == [{"id": "1"}]


def test_objects_are_counted_over_any_split_of_a_list() -> None:
    content = rb'[{"a\\": "\"]}", "b": [{}, []]}, {}, {"c": {"d": 1}}]'
    for cut in range(len(content)):
        counter = ObjectCounter()
        counter.add(content[:cut])
        assert not counter.is_ended
        counter.add(content[cut:])
        assert (counter.objects, counter.is_ended) == (3, True)


def test_torn_csv_lines_come_beside_the_whole_ones(tmp_path: Path) -> None:
    rows, torn, delivery = read(portfolio_with(tmp_path, NAMES + b"1,2\n3\n4,5,6\n7,8\n"))
    assert [row["id"] for row in rows] == ["1", "7"]
    assert (torn, delivery.records) == (["3", "4,5,6"], 4)


def test_a_long_csv_has_all_its_lines(tmp_path: Path) -> None:
    lines = b"".join(b"%d,x\n" % n if n % 10 else b"%d\n" % n for n in range(20_000))
    rows, torn, delivery = read(portfolio_with(tmp_path, b"id,name\n" + lines))
    assert sorted([int(row["id"]) for row in rows] + [*map(int, torn)]) == [*range(20_000)]
    assert delivery.records == 20_000


def test_a_quoted_field_may_have_signs_and_line_ends_in_it(tmp_path: Path) -> None:
    rows, torn, delivery = read(
        portfolio_with(tmp_path, NAMES + b'"a ""b"",\n\nc",2\nd\'s 5" pipe,3\n')
    )
    assert [row["id"] for row in rows] == ['a "b",\n\nc', "d's 5\" pipe"]
    assert (torn, delivery.records) == ([], 2)


def test_a_stray_quote_that_swallows_lines_is_a_doubt(tmp_path: Path) -> None:
    lines = b'1,"2\n' + b"3,4\n" * 30 + b'5,6"\n7,8\n'
    *_, delivery = read(portfolio_with(tmp_path, NAMES + lines))
    assert (
        delivery.stray_quote == "1 fields are longer than 20 lines or 64 KB, the first in record 1"
    )


def test_lines_are_counted_over_any_split_of_a_file() -> None:
    content = b'a,"b\n\n""c"\n\r\n\nd,e\n"f\ng",h\n'
    lines = content.splitlines(keepends=True)
    for cut in range(len(lines) + 1):
        counter = LineCounter('"')
        counter.add(b"".join(lines[:cut]))
        counter.add(b"".join(lines[cut:]))
        assert counter.lines == 3


def test_a_csv_with_a_header_alone_has_its_columns_and_no_rows(tmp_path: Path) -> None:
    rows, _, delivery = read(portfolio_with(tmp_path, NAMES))
    assert (rows, delivery.names, delivery.records) == ([], ("id", "amount"), 0)


def test_parquet_comes_in_its_own_types(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [1, None, 9007199254740993]}), tmp_path / "rows.parquet")
    rows, _, delivery = read(portfolio_of(tmp_path))
    assert [row["id"] for row in rows] == [1, None, 9007199254740993]
    assert (delivery.types, delivery.records) == (("BIGINT",), 3)


def test_a_parquet_without_rows_has_its_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": pa.array([], pa.int64())}), tmp_path / "rows.parquet")
    rows, _, delivery = read(portfolio_of(tmp_path))
    assert (rows, delivery.names) == ([], ("id",))


def test_the_files_of_a_folder_and_of_a_pattern_come_by_name(tmp_path: Path) -> None:
    for name in ("2.csv", "1.csv", ".3.csv", "4.csv.part", "notes.md", "deep/5.tsv"):
        file = tmp_path / "drop" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"id,amount\n{name},1\n")
    whole, *_ = read(portfolio_of(tmp_path, source='path = "drop"'))
    named, *_ = read(portfolio_of(tmp_path, source='path = "drop/[12].csv"'))
    assert [row["id"] for row in whole] == ["1.csv", "2.csv", "deep/5.tsv"]
    assert [row["id"] for row in named] == ["1.csv", "2.csv"]


@pytest.mark.parametrize("ending", ["csv", "json", "parquet"])
def test_a_name_with_the_signs_of_a_pattern_is_one_file(tmp_path: Path, ending: str) -> None:
    folder = tmp_path / "M's files [1] 50% ü #2"
    folder.mkdir()
    name, rows = f"may [2]*.{ending}", pa.table({"id": ["a", "b"], "amount": ["1", "2"]})
    if ending == "parquet":
        pq.write_table(rows, folder / name)
    elif ending == "csv":
        (folder / name).write_text("id,amount\na,1\nb,2\n", encoding="utf-8")
    else:
        (folder / name).write_text(json.dumps(rows.to_pylist()), encoding="utf-8")
    (folder / f"may 2.{ending}").write_bytes(b"")  # what the pattern would find
    portfolio = portfolio_of(folder, source=f'path = "{name}"')
    assert [row["id"] for row in read(portfolio)[0]] == ["a", "b"]


def test_the_folders_of_a_partitioned_source_give_columns(tmp_path: Path) -> None:
    for folder, name in [("region=fr/day=2025-01-01", "a"), ("region=d%20e/day=x", "a")]:
        (tmp_path / "drop" / folder).mkdir(parents=True)
        pq.write_table(pa.table({"id": [name]}), tmp_path / "drop" / folder / "part.parquet")
    (tmp_path / "drop" / "region=__HIVE_DEFAULT_PARTITION__").mkdir()
    (tmp_path / "drop" / "region=__HIVE_DEFAULT_PARTITION__" / "b.csv").write_text("id,day\nb,2\n")
    portfolio = portfolio_of(tmp_path, source='path = "drop"')
    rows, *_ = read(portfolio)
    assert rows == [
        {"id": "b", "day": "2", "region": None},
        {"id": "a", "region": "d e", "day": "x"},
        {"id": "a", "region": "fr", "day": "2025-01-01"},
    ]
    assert len({file.digest() for file in source_files(portfolio)}) == 3


def test_a_delta_table_is_read_as_its_newest_version(tmp_path: Path) -> None:
    table = str(tmp_path / "payments")
    first = pa.table({"id": ["a", "b"], "region": ["fr", None]})
    write_deltalake(table, first, partition_by=["region"])
    write_deltalake(table, pa.table({"id": ["gone"], "region": ["de"]}), mode="append")
    more = pa.table({"id": ["c"], "region": ["es"], "channel": ["pos"]})
    write_deltalake(table, more, mode="append", schema_mode="merge")
    DeltaTable(table).delete("region = 'de'")
    rows, *_ = read(portfolio_of(tmp_path, source='path = "payments"'))
    found = [(row["id"], row["region"], row["channel"]) for row in rows]
    assert sorted(found) == [("a", "fr", None), ("b", None, None), ("c", "es", "pos")]


def test_a_database_gives_what_its_query_selects(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "bank.db") as connection:
        connection.execute("CREATE TABLE payments (id INTEGER, amount REAL)")
        connection.executemany(
            "INSERT INTO payments VALUES (?, ?)", [(1, 2.5), (None, 3.0), (3, None)]
        )
    connection.close()
    query = "select id, amount from payments order by rowid"
    source = f'url = "sqlite:///{tmp_path}/bank.db"\nquery = "{query}"'
    rows, *_ = read(portfolio_of(tmp_path, source=source))
    assert [(row["id"], row["amount"]) for row in rows] == [(1, 2.5), (None, 3.0), (3, None)]


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
        pytest.param("rows.csv", b"", r"rows.csv cannot be read .*empty", id="an empty csv"),
        pytest.param(
            "rows.csv.gz",
            gzip.compress(NAMES * 9)[:-4],
            r"rows.csv.gz cannot be read .*whole file",
            id="a gzip without its end",
        ),
        pytest.param(
            "rows.json",
            b'[{"id": 1}, {"id": 2}',
            r"its list of objects has no end.; check that it is a whole file",
            id="a JSON list without its end",
        ),
        pytest.param(
            "rows.json",
            b'[{"id": 1}, [{"id": 2}]]',
            r"rows.json cannot be read",
            id="a JSON list of more than objects",
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
            r"rows.xlsx is of a form that Strata does not read; it reads .csv, ",
            id="another kind of file",
        ),
        pytest.param(
            "rows.csv",
            None,
            r"rows.csv of portfolio small names no file; put one there",
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


def test_an_encoding_that_a_file_is_not_written_in_is_refused(tmp_path: Path) -> None:
    more = 'csv = { encoding = "utf-8" }'
    with pytest.raises(PortfolioError, match=r"is not written in utf-8 .*; mend encoding"):
        read(portfolio_with(tmp_path, b"id,name\n1,Caf\xe9\n", more=more))


def test_a_zip_of_several_files_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "rows.zip", "w") as archive:
        archive.writestr("a.csv", "id\n1\n")
        archive.writestr("b.csv", "id\n2\n")
    with pytest.raises(PortfolioError, match=r"holds a.csv, b.csv; give a zip with one file"):
        read(portfolio_of(tmp_path, source='path = "rows.zip"'))
