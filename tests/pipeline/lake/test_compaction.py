"""Small files are put together by the runs, rows and readers undisturbed."""

import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

import pipeline.lake.compaction
import pipeline.lake.log
from pipeline.disk.durability import LOCK, LOG, WATCHERS
from pipeline.lake.changes import files_added
from pipeline.lake.checking import find_faults
from pipeline.lake.compaction import checkpoint, compact, maintain
from pipeline.lake.log import open_table
from pipeline.lake.repair import repair
from pipeline.lake.statistics import size_of
from pipeline.lake.tables import Lake

START = datetime(2025, 1, 30, tzinfo=UTC)


def days(*numbers: int) -> pa.Table:
    moments = [START + timedelta(days=number) for number in numbers]
    return pa.table({"transaction_id": [f"t{number}" for number in numbers], "as_of": moments})


def filled(folder: Path, commits: int = 6) -> Lake:
    lake = Lake(str(folder), "small")
    for number in range(commits):
        lake.append("transactions", days(number), writer="ingest", number=number)
    return lake


def rows(lake: Lake) -> list[str]:
    found = lake.read("transactions")
    return [] if found is None else sorted(found["transaction_id"].to_pylist())


def test_a_file_has_rows_of_one_month_and_says_so(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path), "small")
    lake.append("transactions", days(0, 1, 2, 40), writer="ingest", number=0)
    folders = sorted(file.parent.name for file in Path(lake.folder).rglob("2025*/*.parquet"))
    assert folders == ["2025-01", "2025-02", "2025-03"]
    assert rows(lake) == ["t0", "t1", "t2", "t40"]


def test_many_small_files_become_one_a_month_once_they_are_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = filled(tmp_path)
    maintain(lake)
    assert size_of(lake.uri("transactions")).files == 6
    monkeypatch.setattr(pipeline.lake.compaction, "MAX_SMALL", 3)
    maintain(lake)
    size = size_of(lake.uri("transactions"))
    assert (size.files, size.compacted_at is not None) == (2, True)
    assert rows(lake) == [f"t{number}" for number in range(6)]
    assert not list(find_faults(lake.uri("transactions"), is_thorough=True))
    assert lake.written("transactions", "ingest") == 5


def test_who_reads_a_version_reads_it_to_the_end(tmp_path: Path) -> None:
    lake = filled(tmp_path)
    version, before = lake.version("transactions"), lake.dataset("transactions")
    compact(lake.uri("transactions"), "as_of")
    checkpoint(lake.uri("transactions"))
    assert before is not None
    assert before.count_rows() == 6
    stored = lake.read("transactions", version=version)
    assert stored is not None
    assert stored.num_rows == 6


@pytest.mark.parametrize("files_at_once", [2, 3, 6])
def test_a_broken_file_that_was_put_together_is_put_together_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files_at_once: int
) -> None:
    lake = filled(tmp_path)
    one = size_of(lake.uri("transactions")).bytes // 6
    monkeypatch.setattr(pipeline.lake.compaction, "BUNDLE_BYTES", (files_at_once - 0.5) * one)
    compact(lake.uri("transactions"), "as_of")
    made = [*Path(lake.folder).rglob("2025-02/compacted-*.parquet")]
    assert len(made) == {2: 2, 3: 2, 6: 1}[files_at_once]
    made[0].write_bytes(b"")
    (done,) = repair(lake, now=START)
    assert done.endswith("nothing is lost")
    assert rows(lake) == [f"t{number}" for number in range(6)]


def test_what_a_killed_writer_left_is_gone_after_the_next_run(tmp_path: Path) -> None:
    lake = filled(tmp_path)
    left = Path(lake.uri("transactions")) / "2025-01" / "part-left.parquet"
    left.write_bytes(b"half")
    (Path(lake.uri("transactions")) / LOCK).write_text("2025-01/part-left.parquet\n")
    maintain(lake)
    assert not left.exists()
    assert rows(lake) == [f"t{number}" for number in range(6)]


def test_data_is_on_the_disk_before_its_log_entry(tmp_path: Path) -> None:
    seen = list[str]()

    def watch(path: Path) -> None:
        seen.append(path.suffix or path.name)

    WATCHERS.append(watch)
    try:
        filled(tmp_path / "lake", 1)
    finally:
        WATCHERS.remove(watch)
    made = [".json", "_delta_log", "transactions", "small", "lake"]
    assert seen == [*made, ".parquet", "2025-01", "transactions", ".json", "_delta_log"]


def test_old_entries_go_and_what_a_process_read_stays_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline.lake.log, "KEPT_ENTRIES", 3)
    lake = filled(tmp_path, commits=2)
    uri = lake.uri("transactions")
    held = lake.version("transactions")
    assert lake.read("transactions", version=held) is not None
    for number in range(2, 12):
        lake.append("transactions", days(number), writer="ingest", number=number)
        checkpoint(uri)
    versions = sorted(
        int(file.stem) for file in (Path(uri) / LOG).glob("*.json") if file.stem[0] == "0"
    )
    last = lake.version("transactions")
    assert versions == [last - 3, last - 2, last - 1, last]
    held_rows = lake.read("transactions", version=held)
    assert held_rows is not None
    assert held_rows.num_rows == 2
    early = DeltaTable(uri, version=last - 3)
    assert early.version() == last - 3
    assert not list(find_faults(uri, is_thorough=True))


def test_what_says_of_which_files_others_were_made_stays_for_two_days(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline.lake.log, "KEPT_ENTRIES", 1)
    lake = filled(tmp_path, commits=4)
    uri = lake.uri("transactions")
    compact(uri, "as_of")
    made = lake.version("transactions")
    for number in range(4, 8):
        lake.append("transactions", days(number), writer="ingest", number=number)
        checkpoint(uri)
    entry = Path(uri) / LOG / f"{made:020}.json"
    assert entry.exists()
    three_days_ago = time.time() - 3 * 24 * 3600
    os.utime(entry, (three_days_ago, three_days_ago))
    checkpoint(uri)
    assert not entry.exists()


def test_an_opened_table_is_opened_anew_once_somebody_adds_to_it_or_takes_from_it(
    tmp_path: Path,
) -> None:
    lake = filled(tmp_path, commits=2)
    uri = lake.uri("transactions")
    opened = open_table(uri)
    assert open_table(uri) is opened
    script = "import sys; from deltalake import DeltaTable, write_deltalake as w; t = DeltaTable("
    script += "sys.argv[1]); w(t, t.to_pyarrow_table(), mode='append')"
    subprocess.run([sys.executable, "-c", script, uri], check=True)
    assert (open_table(uri).version(), lake.count("transactions")) == (opened.version() + 1, 4)
    (Path(uri) / LOG / f"{opened.version() + 1:020}.json").unlink()
    assert (open_table(uri).version(), lake.count("transactions")) == (opened.version(), 2)


def test_files_added_are_those_of_new_rows_alone(tmp_path: Path) -> None:
    lake = filled(tmp_path, commits=3)
    uri, before = lake.uri("transactions"), lake.version("transactions")
    assert files_added(uri, after=before, until=before) == []
    compact(uri, "as_of")
    lake.append("transactions", days(3), writer="ingest", number=3)
    now = lake.version("transactions")
    added = files_added(uri, after=before, until=now)
    assert added is not None
    assert len(added) == 1
    lake.replace("transactions", days(3), key="transaction_id", writer="ingest", number=4)
    assert files_added(uri, after=before, until=lake.version("transactions")) is None
    (Path(uri) / LOG / f"{now:020}.json").unlink()
    assert files_added(uri, after=before, until=now) is None
