"""A home can be moved and copied, and one that release 0.1 made elsewhere opens and is mended."""

import json
import shutil
import sqlite3
import sys
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from socket import socket
from urllib.error import URLError

import pyarrow.parquet as pq
import pytest

from pipeline.child_process import run_child_process
from pipeline.registry.changes import mend
from pipeline.registry.versions import Registry
from tests.demo_home import ROOT, Demo

RELEASE_01 = ROOT / "tests" / "fixtures" / "home-0.1.tar.xz"
OLD_HOME = "/var/lib/strata/home"


@pytest.fixture
def old(tmp_path: Path) -> Demo:
    """A home that release 0.1 made in another folder, unpacked here."""
    with tarfile.open(RELEASE_01) as packed:
        packed.extractall(tmp_path, filter="data")
    return Demo(home=tmp_path / "home", printed="")


@pytest.fixture
def moved(demo: Demo, tmp_path: Path) -> Iterator[Demo]:
    """Today's home, moved: nothing is left where it was made, until it is moved back."""
    home = tmp_path / "a folder elsewhere" / "home"
    home.parent.mkdir()
    shutil.move(demo.home, home)
    yield Demo(home=home, printed=demo.printed)
    shutil.move(home, demo.home)


def registry_of(home: Path) -> Registry:
    return Registry(f"sqlite:///{home / 'mlflow.db'}", home / "mlflow-artifacts")


def addresses(home: Path) -> list[str]:
    """All addresses of artifacts that the home's registry holds."""
    with closing(sqlite3.connect(home / "mlflow.db")) as database:
        found = database.execute(
            "SELECT artifact_uri FROM runs UNION SELECT artifact_location FROM experiments"
        ).fetchall()
    return [address for (address,) in found]


def assert_all_works(demo: Demo) -> None:
    found = json.loads(demo.strata("status", str(demo.portfolio), "--json"))
    assert (found["champion"]["version"], found["champion"]["metrics"]["ap"] > 0) == ("1", True)
    assert "scored 0, new alerts 0" in demo.strata("score", str(demo.portfolio))
    assert "version 1 is in" in demo.strata(
        "export", str(demo.portfolio), "--to", str(demo.home / "exported")
    )
    assert (demo.home / "exported" / "model.onnx").exists()
    shutil.rmtree(demo.home / "exported")


def test_a_home_of_release_0_1_opens_anywhere(old: Demo) -> None:
    assert all(OLD_HOME in address or "/mlruns/" in address for address in addresses(old.home))
    assert_all_works(old)


def test_a_home_of_release_0_1_is_mended_in_one_transaction(old: Demo) -> None:
    mend(registry_of(old.home))
    assert all(address.startswith("mlflow-artifacts/") for address in addresses(old.home))
    assert any((old.home / address / "bundle").is_dir() for address in addresses(old.home))
    before = addresses(old.home)
    mend(registry_of(old.home))
    assert addresses(old.home) == before


def test_a_home_of_release_0_1_scores_what_is_new(old: Demo) -> None:
    """The last forty rows come back as new ones, half a day later."""
    source = old.home / "world" / "transactions.parquet"
    rows = pq.read_table(source)
    last = rows.slice(rows.num_rows - 40).to_pylist()
    half_a_day = last[-1]["event_time"] - last[0]["event_time"]
    for row in last:
        row["transaction_id"] = f"new-{row['transaction_id']}"
        for moment in ("event_time", "known_at", "label_known_at"):
            row[moment] = row[moment] and row[moment] + half_a_day
    pq.write_table(rows.slice(0, 0).from_pylist(last, schema=rows.schema), source)
    assert "taken 40" in old.strata("ingest", str(old.portfolio))
    assert "scored 40" in old.strata("score", str(old.portfolio))


def test_a_home_of_today_holds_no_absolute_address_and_works_where_it_is_moved(
    moved: Demo,
) -> None:
    assert all(address.startswith("mlflow-artifacts/") for address in addresses(moved.home))
    assert_all_works(moved)


def test_mlflows_pages_show_and_download_artifacts_of_a_moved_home(old: Demo) -> None:
    champion = registry_of(old.home).version("world", "champion")
    assert champion is not None
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(ROOT / "strata.py"), "dashboard", "--port", str(port)]
    asked = f"run_id={champion.run_id}"
    with run_child_process(command, old.environment):
        listed = answer(f"http://127.0.0.1:{port + 1}/ajax-api/2.0/mlflow/artifacts/list?{asked}")
        assert {"comparison.json", "bundle"} <= {
            file["path"] for file in json.loads(listed)["files"]
        }
        table = answer(f"http://127.0.0.1:{port + 1}/get-artifact?{asked}&path=comparison.json")
        assert "layered" in {row[0] for row in json.loads(table)["data"]}


def answer(url: str, *, patience_seconds: float = 240) -> bytes:
    """What a server answers as soon as it is there."""
    until = time.monotonic() + patience_seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=30) as answered:
                return bytes(answered.read())
        except (URLError, ConnectionError, TimeoutError):
            assert time.monotonic() < until, f"{url} did not answer"
            time.sleep(0.5)
