"""A home's first commands, killed or several at once, leave what the next one completes."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.disk.turns import turn
from pipeline.failures import BusyError
from pipeline.lake.tables import Lake
from tests.demo_home import Demo
from tests.first_command import begin_command, begin_first_command, codes
from tests.old_home import unpack


def assert_whole(home: Path) -> None:
    for name in ("casework.db", "mlflow.db"):
        with closing(sqlite3.connect(home / name)) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert [one.name for one in home.glob(".*")] == [".locks"]
    assert not list(home.glob("*.part*"))


def test_a_first_command_that_is_killed_again_and_again_is_completed(tmp_path: Path) -> None:
    home = Demo(home=tmp_path / "home", printed="")
    for made in (".casework.db.part", ".mlflow.db.part", "mlflow.db"):
        killed = begin_first_command(home)
        while not (home.home / made).exists():
            assert killed.is_alive() or (home.home / made).exists()
            time.sleep(0.001)
        killed.kill()
        killed.join()
    assert codes([begin_first_command(home)]) == [0]
    assert_whole(home.home)


def test_four_first_commands_at_once_end_well(tmp_path: Path) -> None:
    home = Demo(home=tmp_path / "home", printed="")
    assert codes([begin_first_command(home) for _ in range(4)]) == [0] * 4
    assert_whole(home.home)


def test_ingest_score_and_status_at_once_do_each_thing_once(tmp_path: Path) -> None:
    home = unpack(tmp_path)
    for table in ("transactions", "labels", "scores"):  # a home whose work is all to do
        assert (home.home / "lake" / "world" / table).is_dir()
    words = [("ingest", "--again"), ("ingest",), ("score",), ("score",), ("status",)]
    begun = [begin_command(home, *one, str(home.portfolio)) for one in words]
    assert codes(begun) == [0] * len(words)
    lake = Lake(str(home.home / "lake"), "world")
    assert lake.count("transactions") == 2500
    scores = lake.read("scores", columns=["transaction_id"])
    assert scores is not None
    assert scores.num_rows == len(set(scores["transaction_id"].to_pylist())) == 420


def test_who_waits_in_vain_is_told_for_how_long(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "new" / "one"
    with (
        turn(lock, what="portfolio one"),
        pytest.raises(BusyError, match="at work on portfolio one for 2 s; run the command again"),
        turn(lock, what="portfolio one", wait_seconds=2.1),
    ):
        pass
    assert capsys.readouterr().err.startswith("waiting, up to 2 s: another process is at work on")
