"""A query joins further files to the source's, and loses and doubles no row in silence."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.ingest.ingest import ingest
from pipeline.ingest.ingested import Ingested
from pipeline.lake.tables import Lake
from pipeline.portfolio import PortfolioError
from tests.ingest_examples import NOW, portfolio_of

PAYMENTS = "id,at,card,sum\n1,2025-05-01,a,10\n2,2025-05-02,b,20\n3,2025-05-03,a,30\n"
COLUMNS = (
    '[columns]\ntransaction_id = "id"\nevent_time = "at"\naccount_id = "card"\n'
    'amount = "sum"\ndevice_id = "device"\n'
)
LEFT = "SELECT * FROM source LEFT JOIN devices USING (id)"


def take(
    folder: Path,
    query: str = LEFT,
    *,
    path: str = "pay.csv",
    table: str = "devices.csv",
    accept: bool = False,
) -> Ingested:
    source = f'path = "{path}"\ntables = {{ devices = "{table}" }}\nquery = """{query}"""'
    portfolio = portfolio_of(folder, source=source, more=COLUMNS)
    return ingest(portfolio, Lake(str(folder / "lake"), "small"), now=NOW, accept=accept)


def devices(folder: Path) -> dict[str, str | None]:
    rows = Lake(str(folder / "lake"), "small").read("transactions")
    assert rows is not None
    found = [rows[name].to_pylist() for name in ("transaction_id", "device_id")]
    return dict(zip(*found, strict=True))


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "pay.csv").write_text(PAYMENTS, encoding="utf-8")
    (tmp_path / "devices.csv").write_text("id;device\n1;mac\n3;pc\n", encoding="utf-8")
    return tmp_path


def test_a_payment_without_a_row_in_the_other_table_stays(shop: Path) -> None:
    done = take(shop)
    assert (done.read, done.taken, done.left_out) == (3, 3, 0)
    assert devices(shop) == {"1": "mac", "2": None, "3": "pc"}


def test_rows_that_the_query_drops_are_counted_and_said(shop: Path) -> None:
    done = take(shop, "SELECT source.*, device FROM source JOIN devices USING (id)")
    assert (done.read, done.taken, done.left_out) == (3, 2, 1)
    assert any("its query leaves out 1 of 3 rows" in doubt for doubt in done.doubts)


@pytest.mark.parametrize(
    "query",
    [
        LEFT,
        "SELECT source.*, device FROM source JOIN devices USING (id) WHERE id = 1",
        "SELECT source.*, device FROM source FULL JOIN devices USING (id)",
    ],
    ids=["more rows than before", "one dropped for each doubled", "rows of no payment"],
)
def test_a_join_that_multiplies_rows_is_stopped_unless_accepted(shop: Path, query: str) -> None:
    (shop / "devices.csv").write_text("id,device\n1,mac\n1,pc\n9,pc\n", encoding="utf-8")
    with pytest.raises(PortfolioError, match=r"pay.csv is stopped: its query gives .* more than"):
        take(shop, query)
    done = take(shop, query, accept=True)
    known = done.known + done.left_out + done.quarantined + done.torn
    assert done.read == done.taken + known


def test_a_change_in_the_other_table_comes_in_as_a_correction(shop: Path) -> None:
    take(shop)
    assert (take(shop).known, take(shop).corrected) == (3, 0)
    (shop / "devices.csv").write_text("id;device\n1;mac\n2;tv\n3;pc\n", encoding="utf-8")
    done = take(shop)
    assert (done.read, done.known, done.corrected) == (3, 2, 1)
    assert devices(shop)["2"] == "tv"


@pytest.mark.parametrize("kind", [pa.int64(), pa.float64(), pa.string()], ids=str)
def test_ids_of_several_types_meet(shop: Path, kind: pa.DataType) -> None:
    ids = pa.array([1, 3]).cast(pa.float64() if kind == pa.string() else kind).cast(kind)
    pq.write_table(pa.table({"tid": ids, "device": ["mac", "pc"]}), shop / "devices.parquet")
    query = "SELECT source.*, device FROM source LEFT JOIN devices d ON source.id = d.tid"
    take(shop, query, table="devices.parquet")
    assert devices(shop) == {"1": "mac", "2": None, "3": "pc"}


def test_a_folder_of_tables_is_one_and_no_payment(shop: Path) -> None:
    (shop / "more.devices.csv").write_text("device,id\ntv,2\n", encoding="utf-8")
    done = take(shop, path="*.csv", table="*devices.csv")
    assert (done.read, done.taken) == (3, 3)
    assert devices(shop) == {"1": "mac", "2": "tv", "3": "pc"}


def test_a_query_over_the_source_alone_works(shop: Path) -> None:
    source = 'path = "pay.csv"\nquery = "SELECT *, upper(card) AS device FROM source"'
    portfolio = portfolio_of(shop, source=source, more=COLUMNS)
    ingest(portfolio, Lake(str(shop / "lake"), "small"), now=NOW)
    assert devices(shop) == {"1": "A", "2": "B", "3": "A"}


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("DELETE FROM source", "cannot be understood .*write one SELECT over source and devices"),
        ("SELECT 1; SELECT 2", "has 2 statements"),
        ("SELECT * FROM read_csv('/etc/passwd')", r"reads by read_csv\(\)"),
        ("SELECT * FROM '/etc/passwd'", "reads '/etc/passwd', which is no table of it"),
        ("SELECT * FROM main.raw", "reads 'main.raw'"),
        ("SELECT (SELECT max(a) FROM others) FROM source", "reads 'others'"),
        ("SELECT nothing FROM source", "cannot be computed .*nothing"),
    ],
)
def test_a_query_that_is_no_select_over_its_tables_is_refused(
    shop: Path, query: str, reason: str
) -> None:
    with pytest.raises(PortfolioError, match=reason):
        take(shop, query)
