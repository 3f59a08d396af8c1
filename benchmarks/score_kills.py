"""Kills of scoring and of the update of the state: the next run makes what an undisturbed one does.

A small world with a quick champion; its history is scored and the state of features kept, then 200
rows come. Every second state is one that is to be made from the beginning.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks.leftovers import leftovers, leftovers_of_state
from benchmarks.states import BUILD, from_state, is_unlike_rebuilt, keep_of_few_rows
from benchmarks.store_kills import begin, codes, kill, lines
from features.state.files import LIST
from pipeline.casework import open_casework
from pipeline.ingest.ingest import ingest
from pipeline.lake.tables import Lake
from pipeline.models.layered.training import TrainConfig
from pipeline.portfolio import Portfolio, read_portfolio
from pipeline.registry.bundle import read_bundle, write_bundle
from pipeline.registry.champion import Champion
from pipeline.score.score import score
from pipeline.simulate.simulate import SimulateConfig, simulate, write
from pipeline.train.train import train

NOW = datetime(2025, 6, 1, tzinfo=UTC)
ROWS, DAYS, SCORED, NEW = 4_000, 42, 400, 200
ORDER = 'order = ["amount", "clock", "retailer"]'
QUICK = TrainConfig(seeds=(1,), epochs=2)


@dataclass(frozen=True)
class Home:
    """A folder with a portfolio, its lake, a champion, the casework and the state."""

    folder: Path

    @property
    def portfolio(self) -> Portfolio:
        """What its columns mean."""
        return read_portfolio(self.folder / "world" / "portfolio.toml")

    @property
    def lake(self) -> Lake:
        """Its tables."""
        return Lake(str(self.folder / "lake"), self.portfolio.name)

    @property
    def states(self) -> Path:
        """Where what is kept of earlier rows lies."""
        return self.folder / "state"

    @property
    def spill(self) -> Path:
        """Where what memory does not hold lies."""
        return self.folder / "spill"

    @property
    def first_new(self) -> datetime:
        """The moment from which on rows came last."""
        return datetime.fromisoformat((self.folder / "first-new").read_text(encoding="utf-8"))

    def copy(self, to: Path) -> "Home":
        """The same once more."""
        return Home(Path(shutil.copytree(self.folder, to)))


def score_all(folder: str) -> None:
    """What strata score does."""
    home = Home(Path(folder))
    keep_of_few_rows()
    casework = open_casework(f"sqlite:///{home.folder / 'casework.db'}")
    champion = Champion(version="1", bundle=read_bundle(home.folder / "champion"))
    config = replace(BUILD, spill_folder=home.spill, state_folder=home.states)
    score(home.portfolio, home.lake, casework, champion, build_config=config, now=NOW)
    casework.dispose()


def update_state(folder: str) -> None:
    """What strata score does of it before it scores."""
    home = Home(Path(folder))
    from_state(home.portfolio, home.lake, home.states, since=home.first_new)


def prepare(folder: Path) -> Home:
    """A home with a champion whose history is scored, and rows that came since."""
    home = Home(folder)
    file = write(simulate(SimulateConfig(transactions=ROWS, days=DAYS)), folder / "world")
    settings = file.read_text(encoding="utf-8").splitlines()
    settings = [ORDER if line.startswith("order = [") else line for line in settings]
    text = "\n".join(settings).replace("transactions.parquet", "came/*.parquet")
    file.write_text(text.replace("[source]", '[source]\nsettle = "0s"'), encoding="utf-8")
    came = folder / "world" / "came"
    came.mkdir()
    rows = pq.read_table(folder / "world" / "transactions.parquet").sort_by("known_at")
    pq.write_table(rows.slice(0, ROWS - NEW), came / "history.parquet")
    ingest(home.portfolio, home.lake, now=NOW)
    start = rows["known_at"][ROWS - NEW - SCORED].as_py()
    models = ("layered", "logistic")
    found = train(
        home.portfolio,
        home.lake,
        build_config=BUILD,
        models=models,
        champion="layered",
        config=QUICK,
    )
    write_bundle(replace(found.bundle, trained_as_of=start), folder / "champion")
    score_all(str(folder))
    pq.write_table(rows.slice(ROWS - NEW), came / "new.parquet")
    ingest(home.portfolio, home.lake, now=NOW)
    first = rows["event_time"][ROWS - NEW].as_py()
    (folder / "first-new").write_text(first.isoformat(), encoding="utf-8")
    return home


def kills_of_scoring(folder: Path, count: int, *, seed: int = 7) -> dict[str, int]:
    """Kill scoring at random moments; then one to the end."""
    return _kills(score_all, folder, count, seed=seed)


def kills_of_updates(folder: Path, count: int, *, seed: int = 7) -> dict[str, int]:
    """Kill the update of the state at random moments; then a scoring to the end."""
    return _kills(update_state, folder, count, seed=seed)


def _kills(
    command: Callable[[str], None], folder: Path, count: int, *, seed: int
) -> dict[str, int]:
    chance, unequal, left = np.random.default_rng(seed), 0, 0
    home = prepare(folder / "home")
    undisturbed = home.copy(folder / "undisturbed")
    score_all(str(undisturbed.folder))
    whole = _state_of(undisturbed)
    longest = [_seconds(command, home.copy(folder / f"timed-{new}"), new) for new in (0, 1)]
    for place in range(count):
        ours = home.copy(folder / f"home-{place}")
        is_new = place % 2
        _forget(ours, is_new)
        kill(begin(command, str(ours.folder)), after=chance.uniform(0, longest[is_new]))
        unequal += codes([begin(score_all, str(ours.folder))]) != [0]
        unequal += _state_of(ours) != whole
        left += len([*leftovers(ours.lake, ours.spill), *leftovers_of_state(ours.states)])
        since = ours.first_new
        unequal += is_unlike_rebuilt(ours.portfolio, ours.lake, ours.states, since=since)
        shutil.rmtree(ours.folder)
    return {"kills": count, "unequal": unequal, "leftovers": left}


def _seconds(command: Callable[[str], None], home: Home, is_new: int) -> float:
    """How long the command takes when nobody kills it."""
    _forget(home, is_new)
    began = time.perf_counter()
    codes([begin(command, str(home.folder))])
    return time.perf_counter() - began


def _forget(home: Home, is_new: int) -> None:
    """Take away the list of the state, so that it is made anew, where that is asked."""
    if is_new:
        for listed in home.states.rglob(LIST):
            listed.unlink()


def _state_of(home: Home) -> list[str]:
    """All scores and all that the casework holds."""
    rows = home.lake.read("scores")
    scores = [] if rows is None else sorted(map(str, rows.to_pylist()))
    return [*scores, *lines(home.folder / "casework.db")]
