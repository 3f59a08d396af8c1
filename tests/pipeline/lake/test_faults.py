"""A lake that is broken is named by the next run, and brought back by repair: nothing is silent."""

import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from benchmarks.faults import kills, leftovers, power_cuts
from features.state.files import Stamp, write_state
from pipeline.disk.durability import sync
from pipeline.failures import BrokenError, explain
from pipeline.ingest.ingest import ingest
from pipeline.lake.repair import check_lakes, check_tables, repair
from pipeline.lake.tables import Lake
from pipeline.score.score import score
from pipeline.settings import Settings
from pipeline.status import status
from pipeline.workspace import Workspace
from tests.ingest_examples import NOW, end_state, portfolio_of, row, take_in, write_rows

LOG = Path("transactions/_delta_log")
ROWS = [row(f"t{n}", amount=f"{n}", is_fraud=str(n % 2)) for n in range(1, 40)]
STAMP = Stamp(declarations="d", lake="l", rates="", ip_data="", transactions=0, labels=0)


def last_entry(lake: Lake) -> Path:
    return max((Path(lake.folder) / LOG).glob("*.json"))


def data_file(lake: Lake) -> Path:
    return next(Path(lake.folder).glob("transactions/*/*.parquet"))


def empty(file: Path) -> None:
    file.write_bytes(b"")


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-40])


def cut_at_a_line(file: Path) -> None:
    file.write_bytes(b"\n".join(file.read_bytes().splitlines()[:-1]))


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 0x40
    file.write_bytes(bytes(content))


def remove(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


BREAKS: dict[str, tuple[Callable[[Lake], Path], Callable[[Path], object], str]] = {
    "log entry empty": (last_entry, empty, "is empty; strata check --repair brings"),
    "log entry cut": (last_entry, cut, "is cut; strata check --repair brings"),
    "log entry cut at a line": (last_entry, cut_at_a_line, "is cut; strata check --repair brings"),
    "log folder gone": (lambda lake: last_entry(lake).parent, remove, "is gone"),
    "data file cut": (data_file, cut, "bytes instead of"),
    "data file gone": (data_file, Path.unlink, "is gone; put a copy back"),
    "data file flipped": (data_file, flip, "was changed since it was written"),
}


@pytest.mark.parametrize("fault", BREAKS)
def test_what_is_broken_is_named_and_the_next_run_after_repair_is_complete(
    tmp_path: Path, fault: str
) -> None:
    whole, _ = take_in(tmp_path / "whole", ROWS)
    lake, _ = take_in(tmp_path / "broken", ROWS)
    portfolio = portfolio_of(tmp_path / "broken")
    find, spoil, sentence = BREAKS[fault]
    spoil(find(lake))
    if fault == "data file flipped":  # sizes do not tell
        _, found = check_tables(lake, is_repaired=False, now=NOW)
        assert sentence in found[0].sentence
    else:
        with pytest.raises(BrokenError, match=sentence) as refused:
            ingest(portfolio, lake, now=NOW)
        assert explain(refused.value).code == 4
    (done,) = repair(lake, now=NOW)
    assert "the next strata ingest reads" in done
    ingest(portfolio, lake, now=NOW)
    assert end_state(lake) == end_state(whole)
    assert check_tables(lake, is_repaired=False, now=NOW)[1] == []


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Files may have so many bytes: what does not fit fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("size", [0, 500, 3000, 5000, 9000])
def test_where_the_disk_is_full_a_sentence_says_so_and_the_next_run_is_complete(
    tmp_path: Path, size: int
) -> None:
    whole, _ = take_in(tmp_path / "whole", ROWS)
    portfolio = portfolio_of(tmp_path / "full")
    write_rows(portfolio, ROWS)
    lake = Lake(str(tmp_path / "full" / "lake"), portfolio.name)
    with room_for(size):
        try:
            ingest(portfolio, lake, now=NOW)
        except Exception as error:
            failure = explain(error)
            assert (failure.code, failure.is_expected) == (4, True), failure.sentence
            assert "; " in failure.sentence
    ingest(portfolio, lake, now=NOW)
    assert end_state(lake) == end_state(whole)
    assert not list(leftovers(lake, tmp_path / "full" / "spill"))


def test_kills_and_power_cuts_lose_nothing_and_leave_nothing(tmp_path: Path) -> None:
    assert kills(tmp_path / "kills", 3) == {"kills": 6, "unequal": 0, "leftovers": 0}
    assert power_cuts(tmp_path / "cuts", 3) == {"power_cuts": 3, "lost": 0, "unequal": 0}


def test_status_and_score_name_what_is_broken_too(tmp_path: Path) -> None:
    lake, _ = take_in(tmp_path, ROWS)
    empty(last_entry(lake))
    workspace = Workspace(settings=Settings.read({"STRATA_HOME": str(tmp_path)}))
    with pytest.raises(BrokenError, match="is empty; strata check --repair brings"):
        status("small", workspace)
    nobody = cast(Any, None)  # neither the casework nor a champion is looked at
    with pytest.raises(BrokenError, match="is empty; strata check --repair brings"):
        score(
            portfolio_of(tmp_path),
            lake,
            nobody,
            nobody,
            build_config=workspace.settings.build_config,
            now=NOW,
        )


def test_a_state_that_was_changed_is_named_and_repair_removes_it(tmp_path: Path) -> None:
    lake, _ = take_in(tmp_path, ROWS)
    states = tmp_path / "state"
    folder = states / lake.portfolio
    write_state(folder, STAMP, {"sums": np.arange(100)}, keep=0, sync=sync)
    said = list[str]()

    def check(*, is_repaired: bool) -> str:
        check_lakes([lake], states=states, is_repaired=is_repaired, now=NOW, tell=said.append)
        return said[-1].splitlines()[-1].strip()

    assert check(is_repaired=False) == "state             whole"
    flip(next(folder.rglob("sums")))
    sentence = "sums has changed since it was written; strata check --repair removes it, and the"
    with pytest.raises(BrokenError, match=sentence):
        check(is_repaired=False)
    assert check(is_repaired=True).endswith("; the next strata score makes it again")
    assert not folder.exists()
    assert not check(is_repaired=False).startswith("state")
