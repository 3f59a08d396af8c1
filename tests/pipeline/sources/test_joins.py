"""A query joins a file with further files, and a record becomes one payment at most."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.schema import SchemaError
from pipeline.ingest.ingest import Ingested, ingest
from pipeline.lake.tables import Lake
from pipeline.portfolio import PortfolioError
from tests.ingest_examples import NOW, portfolio_of, stored

PAYMENTS = "id,at,acc,amt\n1,2025-05-01,a,5\n2,2025-05-02,b,6\n3,2025-05-03,a,7\n"
DEVICES = "id,device\n1,phone\n3,tablet\n"
COLUMNS = """
[columns]
transaction_id = "id"
event_time = "at"
account_id = "acc"
amount = "amt"
device_id = "device"
"""
LEFT = "SELECT * FROM source LEFT JOIN devices USING (id)"


def taken(
    folder: Path, query: str = LEFT, *, devices: str = DEVICES, table: str = "devices.csv"
) -> tuple[Lake, Ingested]:
    (folder / "payments.csv").write_text(PAYMENTS)
    (folder / "devices.csv").write_text(devices)
    source = f'path = "payments.csv"\ntables = {{ devices = "{table}" }}\nquery = "{query}"'
    portfolio = portfolio_of(folder, source=source, more=COLUMNS)
    lake = Lake(str(folder / "lake"), "small")
    return lake, ingest(portfolio, lake, now=NOW)


def devices_of(lake: Lake) -> list[str | None]:
    rows = sorted(stored(lake, "transactions"), key=lambda row: str(row["transaction_id"]))
    return [row["device_id"] for row in rows]


def test_a_left_join_adds_what_the_other_file_says(tmp_path: Path) -> None:
    lake, done = taken(tmp_path)
    assert (done.read, done.taken, devices_of(lake)) == (3, 3, ["phone", None, "tablet"])


def test_a_table_may_be_several_files_and_of_another_type(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    for at, (number, device) in enumerate([(1, "phone"), (3, "tablet")]):
        part = pa.table({"id": [number], "device": [device]})
        pq.write_table(part, tmp_path / "parts" / f"{at}.parquet")
    lake, _ = taken(tmp_path, table="parts")
    assert devices_of(lake) == ["phone", None, "tablet"]


@pytest.mark.parametrize(
    "select", ["*", "id, source.at, acc, amt, device"], ids=["all columns", "some columns"]
)
def test_what_the_query_leaves_out_is_counted_and_said(tmp_path: Path, select: str) -> None:
    _, done = taken(tmp_path, f"SELECT {select} FROM source JOIN devices USING (id)")
    assert (done.read, done.taken, done.left_out) == (3, 2, 1)
    assert any("its query leaves out 1 of 3 records" in doubt for doubt in done.doubts)


def test_another_file_beside_it_makes_it_a_new_delivery(tmp_path: Path) -> None:
    taken(tmp_path)
    _, again = taken(tmp_path)
    assert (again.known, again.corrected) == (3, 0)
    lake, mended = taken(tmp_path, devices=DEVICES.replace("phone", "watch"))
    assert (mended.known, mended.corrected, devices_of(lake)[0]) == (2, 1, "watch")


@pytest.mark.parametrize(
    ("query", "devices", "sentence"),
    [
        pytest.param(
            LEFT,
            f"{DEVICES}1,watch\n",
            r"makes 4 rows of 3 records of payments\.csv, so that payments would count twice; join",
            id="a record becomes two",
        ),
        pytest.param(
            "SELECT 1; SELECT 2", DEVICES, r"cannot be understood .*write one SELECT", id="two"
        ),
        pytest.param("DROP TABLE devices", DEVICES, r"write one SELECT", id="no SELECT"),
        pytest.param(
            "SELECT * FROM read_csv('payments.csv')",
            DEVICES,
            r"query in \[source\] of .* failed \(.*disabled",
            id="a file",
        ),
        pytest.param(
            "SELECT * FROM source JOIN gadgets USING (id)",
            DEVICES,
            r"failed \(.*gadgets.*source has id, at, acc, amt",
            id="no such table",
        ),
    ],
)
def test_a_query_that_is_no_join_of_its_tables_is_refused(
    tmp_path: Path, query: str, devices: str, sentence: str
) -> None:
    with pytest.raises(SchemaError, match=sentence):
        taken(tmp_path, query, devices=devices)
    assert not Lake(str(tmp_path / "lake"), "small").exists("transactions")


def test_files_of_a_table_have_the_same_columns(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "a.csv").write_text(DEVICES)
    (tmp_path / "parts" / "b.csv").write_text("id,gadget\n2,watch\n")
    with pytest.raises(SchemaError, match=r"b\.csv, of the table devices, has .*gadget.*same"):
        taken(tmp_path, table="parts")


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ('path = "p.csv"\ntables = { a = "a.csv" }', r"has tables and no query; write path"),
        (
            'url = "sqlite://"\nquery = "SELECT 1"\ntables = { a = "a.csv" }',
            r"has tables and a url, whose query has its own tables",
        ),
        (
            'path = "p.csv"\nquery = "FROM raw"\ntables = { raw = "a.csv" }',
            r"tables in \[source\] of .* has 'raw'; take lower-case letters",
        ),
        ('path = "p.csv"\nwatermark = "at"', r"has a watermark and no url"),
    ],
)
def test_tables_without_what_they_need_are_refused(
    tmp_path: Path, source: str, sentence: str
) -> None:
    with pytest.raises(PortfolioError, match=sentence):
        portfolio_of(tmp_path, source=source)
