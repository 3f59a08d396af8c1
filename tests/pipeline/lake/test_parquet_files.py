"""Parquet files become a part of a table, with true statistics, and only once."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from pipeline.lake.parquet_files import added_file
from pipeline.lake.tables import Lake, LakeBusyError

MOMENTS = [datetime(2025, 1, day, 8, 30, 0, 5, tzinfo=UTC) for day in (3, 1, 2)]
ROWS = pa.table(
    {
        "transaction_id": ["t3", "t1", "t2"],
        "amount": [2.5, None, -1.0],
        "event_time": pa.array(MOMENTS, pa.timestamp("us", "UTC")),
        "note": ["x" * 100, "b", None],
        "channel": pa.nulls(3, pa.string()),
        "is_fraud": [True, None, False],
    }
)


def written(folder: Path, *tables: pa.Table) -> list[Path]:
    """Each table as a file of row groups of one row."""
    folder.mkdir()
    files = [folder / f"{at}.parquet" for at in range(len(tables))]
    for file, table in zip(files, tables, strict=True):
        pq.write_table(table, file, row_group_size=1)
    return files


def test_bounds_and_nulls_are_those_of_all_row_groups(tmp_path: Path) -> None:
    (file,) = written(tmp_path / "new", ROWS)
    found = json.loads(added_file(file).stats)
    first, last = "2025-01-01T08:30:00.000005Z", "2025-01-03T08:30:00.000005Z"
    least = {"transaction_id": "t1", "amount": -1.0, "event_time": first, "is_fraud": False}
    most = {"transaction_id": "t3", "amount": 2.5, "event_time": last, "is_fraud": True}
    nulls = {"transaction_id": 0, "amount": 1, "event_time": 0}
    nulls |= {"note": 1, "channel": 3, "is_fraud": 1}
    assert found == {"numRecords": 3, "minValues": least, "maxValues": most, "nullCount": nulls}


def test_files_are_moved_into_the_table_in_one_commit(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"), "small")
    files = written(tmp_path / "new", ROWS.slice(0, 2), ROWS.slice(2))
    lake.append_files("transactions", files, schema=ROWS.schema, writer="ingest", number=1)
    assert not any(file.exists() for file in files)
    assert lake.version("transactions") == 1
    assert lake.count("transactions") == 3
    stored = lake.read("transactions")
    assert stored is not None
    assert stored.sort_by("transaction_id") == ROWS.sort_by("transaction_id")
    assert len(DeltaTable(lake.uri("transactions")).file_uris()) == 2


def test_a_table_gets_the_columns_of_later_files(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"), "small")
    first = ROWS.select(["transaction_id", "amount"])
    lake.append("transactions", first, writer="ingest", number=1)
    files = written(tmp_path / "new", ROWS)
    lake.append_files("transactions", files, schema=ROWS.schema, writer="ingest", number=2)
    stored = lake.read("transactions")
    assert stored is not None
    filled = first.append_column("channel", pa.nulls(3, pa.string()))
    assert stored.num_rows == 6
    assert stored.column_names == ROWS.column_names
    old = stored.filter(pc.is_null(stored["event_time"])).select(filled.column_names)
    assert old == filled


def test_a_number_that_was_written_is_refused_and_the_files_stay(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"), "small")
    lake.append("transactions", ROWS, writer="ingest", number=3)
    files = written(tmp_path / "new", ROWS)
    with pytest.raises(LakeBusyError, match=r"another process .*; run the command again"):
        lake.append_files("transactions", files, schema=ROWS.schema, writer="ingest", number=3)
    assert files[0].exists()
    assert lake.count("transactions") == 3
