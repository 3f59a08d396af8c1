"""A number is written once, a table that is not there is empty, and a version stays as it was."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable

from pipeline.lake.commits import LakeBusyError
from pipeline.lake.tables import Lake


def ids(*names: str) -> pa.Table:
    return pa.table({"transaction_id": list(names)})


def test_what_was_never_written_is_none_and_counts_nothing(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path), "small")
    assert (
        lake.exists("labels"),
        lake.version("labels"),
        lake.count("labels"),
        lake.read("labels"),
    ) == (False, -1, 0, None)
    assert lake.written("labels", "ingest") == -1


@pytest.mark.parametrize("number", [3, 2], ids=["the same number", "a lower one"])
def test_a_number_is_written_at_most_once_by_its_writer(tmp_path: Path, number: int) -> None:
    lake = Lake(str(tmp_path), "small")
    lake.append("labels", ids("a"), writer="ingest", number=3)
    with pytest.raises(
        LakeBusyError, match=r"written to by another process .*; run the command again"
    ):
        lake.append("labels", ids("b"), writer="ingest", number=number)
    lake.append("labels", ids("c"), writer="review", number=number)
    assert (
        lake.count("labels"),
        lake.written("labels", "ingest"),
        lake.written("labels", "review"),
    ) == (2, 3, number)


def test_a_version_is_read_as_it_was_with_its_columns_and_condition(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path), "small")
    lake.append("labels", ids("a"), writer="ingest", number=1)
    before = lake.version("labels")
    lake.append(
        "labels", ids("b").append_column("is_fraud", pa.array([True])), writer="ingest", number=2
    )
    assert lake.read("labels", version=before) == ids("a")
    assert lake.read(
        "labels", columns=["is_fraud"], where=pc.field("transaction_id") == "a"
    ) == pa.table({"is_fraud": pa.nulls(1, pa.bool_())})


@pytest.mark.parametrize(
    ("least", "expected"), [(1, ["2025-01", "2025-01", "2025-02"]), (3, ["scores"] * 2)]
)
def test_parts_come_in_one_commit_those_of_many_rows_by_month(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, least: int, expected: list[str]
) -> None:
    monkeypatch.setattr("pipeline.lake.data_files.MIN_SPLIT", least)
    lake = Lake(str(tmp_path), "small")
    days = [datetime(2025, month, 28, 23, 59, tzinfo=UTC) for month in (1, 2, 1)]
    rows = ids("a", "b", "c").append_column("as_of", pa.array(days, pa.timestamp("us", "UTC")))
    parts = [rows.slice(0, 2), rows.slice(2)]
    lake.append_parts("scores", parts, schema=rows.schema, writer="score", number=0)
    assert lake.version("scores") == 1
    folders = sorted(Path(one).parent.name for one in DeltaTable(lake.uri("scores")).file_uris())
    assert folders == expected
    stored = lake.read("scores")
    assert stored is not None
    assert stored.sort_by("transaction_id") == rows


def test_removing_leaves_all_other_rows(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path), "small")
    lake.append("labels", ids("a", "b", "c", "b"), writer="ingest", number=1)
    lake.remove("labels", "transaction_id", pa.array(["b", "z", "b"]))
    assert sorted((lake.read("labels") or ids())["transaction_id"].to_pylist()) == ["a", "c"]


def test_of_two_who_took_a_number_while_the_table_was_made_one_appends(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path), "small")
    first = lake.next_number("labels", "ingest")
    DeltaTable.create(lake.uri("labels"), ids().schema)  # as far as the first one's append has come
    second = lake.next_number("labels", "ingest")
    lake.append("labels", ids("a"), writer="ingest", number=first)
    with pytest.raises(LakeBusyError):
        lake.append("labels", ids("a"), writer="ingest", number=second)
    assert lake.count("labels") == 1
