"""Hashes beside the lake never hide a row of it, whatever becomes of them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

import pipeline.sources.known_ids
from pipeline.lake.compaction import checkpoint, compact
from pipeline.lake.tables import Lake
from pipeline.sources.identities import zeros_across
from pipeline.sources.known_ids import FOLDER, known_rows

START = datetime(2025, 1, 30, tzinfo=UTC)


def payments(numbers: list[int], names: list[str], moments: list[int]) -> pa.Table:
    at = pa.array([START + timedelta(hours=one) for one in moments], pa.timestamp("us", tz="UTC"))
    ids = [f"t{number}" for number in numbers]
    return pa.table({"transaction_id": ids, "event_time": at, "as_of": at, "merchant_id": names})


def broken(lake: Lake, random: np.random.Generator) -> None:
    files = sorted(file for file in (Path(lake.folder) / FOLDER).rglob("*") if file.is_file())
    if files:
        file = files[int(random.integers(len(files)))]
        content = bytearray(file.read_bytes())
        if content and random.random() < 0.5:
            content[int(random.integers(len(content)))] ^= 1
            file.write_bytes(content)
        else:
            file.unlink()


def told_twins(connection: duckdb.DuckDBPyConnection, lake: Lake, *, is_dry: bool) -> list[str]:
    told = zeros_across(connection, lake, ["merchant_id"], is_dry=is_dry)
    return [one.partition(" where the lake ")[0] for one in told]


@pytest.mark.parametrize("seed", range(2))
def test_what_the_lake_has_is_found_whatever_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(pipeline.sources.known_ids, "SMALL_SHARE", 0)  # all are small
    lake, random = Lake(str(tmp_path), "stream"), np.random.default_rng(seed)
    held = dict[int, tuple[str, int]]()
    for step in range(15):
        numbers = sorted({int(one) for one in random.integers(0, 200, 6)})
        names = ["0" * (number % 3) + str(number % 53) for number in numbers]
        moments = [int(one) for one in random.integers(0, 2000, len(numbers))]
        checked = payments(numbers, names, moments)
        with duckdb.connect() as connection:
            connection.register("checked", checked)
            found = known_rows(connection, lake, "transactions", time="event_time")
            twins = told_twins(connection, lake, is_dry=False)
            all_twins = told_twins(connection, lake, is_dry=True)
        known = set(numbers) & held.keys()
        if found is not None:
            assert isinstance(found, pa.Table)
            assert sorted(found["transaction_id"].to_pylist()) == sorted(f"t{one}" for one in known)
        assert twins == all_twins
        held |= dict(zip(numbers, zip(names, moments, strict=True), strict=True))
        fresh = [place for place, number in enumerate(numbers) if number not in known]
        again = [place for place, number in enumerate(numbers) if number in known]
        count = lake.next_number("transactions", "ingest")
        lake.append("transactions", checked.take(fresh), writer="ingest", number=count)
        if again:  # corrected, the moment too
            lake.replace(
                "transactions",
                checked.take(again),
                key="transaction_id",
                writer="ingest",
                number=count + 1,
            )
        if step % 5 == 4:
            compact(lake.uri("transactions"), "as_of")
            checkpoint(lake.uri("transactions"))
        if step % 3 == 2:
            broken(lake, random)


def test_a_delivery_of_new_ids_reads_no_row_of_the_lake(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path), "stream")
    many = list(range(100))
    lake.append("transactions", payments(many, ["7"] * 100, many), writer="ingest", number=0)
    for number in (200, 201):
        with duckdb.connect() as connection:
            connection.register("checked", payments([number], ["8"], [5]))
            found = known_rows(connection, lake, "transactions", time="event_time")
            assert isinstance(found, pa.Table)
            assert found.num_rows == 0
            assert list(zeros_across(connection, lake, ["merchant_id"])) == []
        for file in Path(lake.uri("transactions")).glob("*.parquet"):
            file.write_bytes(b"not to be read")
