"""A home's first commands, killed or several at once, leave what the next one completes."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.disk.turns import turn
from pipeline.failures import BusyError
from pipeline.lake.tables import Lake
from tests.demo_home import ROOT, Demo
from tests.old_home import unpack

# what a first command does with its home, without a training: both databases are made
FIRST = """
import os, sys
from pathlib import Path
from pipeline.registry.changes import open_client
from pipeline.settings import Settings
from pipeline.workspace import Workspace
workspace = Workspace(settings=Settings.read(os.environ))
workspace.casework
open_client(workspace.registry).search_registered_models()
print("done")
"""


def begin(home: Demo, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, *words],
        env=home.environment | {"MLFLOW_LOGGING_LEVEL": "WARNING"},  # as the command line
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def assert_whole(home: Path) -> None:
    for name in ("casework.db", "mlflow.db"):
        with closing(sqlite3.connect(home / name)) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert [one.name for one in home.glob(".*")] == [".locks"]
    assert not list(home.glob("*.part*"))


@pytest.mark.parametrize("made", [".casework.db.part", ".mlflow.db.part", "mlflow.db"])
def test_a_killed_first_command_is_completed_by_the_next(made: str, tmp_path: Path) -> None:
    home = Demo(home=tmp_path / "home", printed="")
    killed = begin(home, "-c", FIRST)
    while not (home.home / made).exists():
        assert killed.poll() is None
        time.sleep(0.001)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    told, errors = begin(home, "-c", FIRST).communicate()
    assert (told, errors) == ("done\n", "")
    assert_whole(home.home)


def test_four_first_commands_at_once_end_well(tmp_path: Path) -> None:
    home = Demo(home=tmp_path / "home", printed="")
    first = [begin(home, "-c", FIRST) for _ in range(4)]
    ended = [one.communicate() for one in first]
    assert [told for told, _ in ended] == ["done\n"] * 4, ended
    assert "Traceback" not in "".join(errors for _, errors in ended)
    assert_whole(home.home)


def test_ingest_score_and_status_at_once_do_each_thing_once(tmp_path: Path) -> None:
    home, strata = unpack(tmp_path), str(ROOT / "strata.py")
    for table in ("transactions", "labels", "scores"):  # a home whose work is all to do
        assert (home.home / "lake" / "world" / table).is_dir()
    words = [("ingest", "--again"), ("ingest",), ("score",), ("score",), ("status",)]
    began = [begin(home, strata, *one, str(home.portfolio)) for one in words]
    ended = [one.communicate() for one in began]
    assert [one.returncode for one in began] == [0] * len(words), ended
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
        pytest.raises(BusyError, match="at work on portfolio one for 3 s; run the command again"),
        turn(lock, what="portfolio one", wait_seconds=3),
    ):
        pass
    assert capsys.readouterr().err.startswith("waiting, up to 3 s: another process is at work on")
