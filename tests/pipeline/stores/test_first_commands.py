"""A home's first commands, killed or several at once, leave what the next one completes."""

import os
import sys
from pathlib import Path

import pytest

from benchmarks.faults import OTHER_KILLS
from benchmarks.store_kills import begin, codes
from pipeline.disk.turns import turn
from pipeline.failures import BusyError
from pipeline.lake.tables import Lake
from strata import main
from tests.old_home import unpack


def command(home: str, *words: str) -> None:
    """What the command line does with these words."""
    os.environ["STRATA_HOME"] = home
    sys.argv = ["strata", *words]
    main()


@pytest.mark.parametrize("what", OTHER_KILLS)
def test_what_is_killed_is_completed_by_the_next(what: str, tmp_path: Path) -> None:
    """A home's first command is completed by four at once."""
    found = OTHER_KILLS[what](tmp_path / "kills", 3)
    assert found == {"kills": 3, "unequal": 0, "leftovers": 0}


def test_ingest_score_and_status_at_once_do_each_thing_once(tmp_path: Path) -> None:
    home = unpack(tmp_path)
    for table in ("transactions", "labels", "scores"):  # a home whose work is all to do
        assert (home.home / "lake" / "world" / table).is_dir()
    words = [("ingest", "--again"), ("ingest",), ("score",), ("score",), ("status",)]
    begun = [begin(command, str(home.home), *one, str(home.portfolio)) for one in words]
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
