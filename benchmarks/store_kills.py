"""Kills of a home's first command, of backup and restore, and of the upgrade of an old home.

Processes begin in an instant, as one has imported all for them.
"""

import shutil
import sqlite3
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np

from benchmarks.leftovers import leftovers_of_state
from benchmarks.states import is_unlike_rebuilt
from pipeline.lake.tables import Lake
from pipeline.portfolio import read_portfolio
from pipeline.registry.changes import open_client
from pipeline.settings import Settings
from pipeline.stores.backup import back_up, restore
from pipeline.stores.manifest import Manifest
from pipeline.stores.upgrade import bring_forward
from pipeline.workspace import Workspace

NOW = datetime(2025, 6, 1, tzinfo=UTC)
OLD_HOME = Path(__file__).parent.parent / "tests" / "fixtures" / "home-0.1.tar.xz"
DATABASES = ("casework.db", "mlflow.db")
KILLS_A_HOME = 3
AT_ONCE = 4
IMPORTED = [
    "benchmarks.faults",
    "benchmarks.store_kills",
    "features.engines.kernel",
    "pipeline.casework.migrations.upgrade",
    "pipeline.ingest.run",
    "pipeline.score.score",
    "pipeline.status",
    "strata",
]
# of a home: what differs from one to the next
OWN = {"identity", "experiments"}


def first_command(home: str) -> None:
    """What a home's first command does, without a training: both databases are made."""
    workspace = Workspace(settings=Settings.read({"STRATA_HOME": home}))
    _ = workspace.casework
    open_client(workspace.registry).search_registered_models()


def save(home: str, to: str) -> Manifest:
    """What strata backup does."""
    workspace = Workspace(settings=Settings.read({"STRATA_HOME": home}))
    agreement, registry = workspace.agreement, workspace.registry
    return back_up(agreement, registry, Path(to), home=Path(home), now=NOW)


def make_of(backup: str, home: str) -> Manifest:
    """What strata restore does."""
    return restore(Path(backup), Path(home))


def upgrade(home: str) -> None:
    """What strata upgrade does."""
    workspace = Workspace(settings=Settings.read({"STRATA_HOME": home}))
    list(bring_forward(workspace.agreement, workspace.registry))


def begin(command: Callable[..., object], *words: str) -> BaseProcess:
    """Begin a command in a process of its own."""
    context = get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    process = context.Process(target=command, args=words)
    process.start()
    return process


def codes(begun: list[BaseProcess]) -> list[int | None]:
    """Wait for the ends of processes; returns their exit codes."""
    for one in begun:
        one.join()
    return [one.exitcode for one in begun]


def kill(process: BaseProcess, *, after: float) -> None:
    """Kill a process after so many seconds."""
    time.sleep(after)
    process.kill()
    process.join()


def kills_of_first_commands(folder: Path, count: int, *, seed: int = 7) -> dict[str, int]:
    """Kill each home's first command several times; then several at once complete it."""
    chance, failed, left, states = np.random.default_rng(seed), 0, 0, []
    for place in range(0, count, KILLS_A_HOME):
        home = folder / f"home-{place}"
        for _ in range(min(KILLS_A_HOME, count - place)):
            kill(begin(first_command, str(home)), after=chance.uniform(0, 2.5))
        ended = codes([begin(first_command, str(home)) for _ in range(AT_ONCE)])
        failed += ended != [0] * AT_ONCE
        left += len(list(leftovers(home)))
        states.append(contents(home))
    unequal = sum(one != states[0] for one in states)
    return {"kills": count, "unequal": failed + unequal, "leftovers": left}


def kills_of_backups(folder: Path, count: int, *, seed: int = 7) -> dict[str, int]:
    """Kill backup and restore in turns; then one of each to the end."""
    chance, unequal, left = np.random.default_rng(seed), 0, 0
    home = unpack(folder)
    whole = save(str(home), str(folder / "whole"))
    for place in range(count):
        to, again = folder / f"backup-{place}", folder / f"again-{place}"
        if place % 2 == 0:
            kill(begin(save, str(home), str(to)), after=chance.uniform(0, 0.4))
        if not to.exists():  # made whole or not at all
            save(str(home), str(to))
        if place % 2:
            kill(begin(make_of, str(to), str(again)), after=chance.uniform(0, 0.2))
        if not again.exists():
            make_of(str(to), str(again))
        unequal += contents(again) != contents(home)
        unequal += make_of(str(to), str(folder / f"{place}")).files != whole.files
        unequal += is_unlike_rebuilt_in(again, home / "world")
        left += len([*folder.glob(".*"), *leftovers(again), *leftovers_of_state(again / "state")])
    return {"kills": count, "unequal": unequal, "leftovers": left}


def kills_of_upgrades(folder: Path, count: int, *, seed: int = 7) -> dict[str, int]:
    """Kill the upgrade of an old home; then one to the end."""
    chance, unequal, left = np.random.default_rng(seed), 0, 0
    old = unpack(folder)
    undisturbed = Path(shutil.copytree(old, folder / "undisturbed"))
    upgrade(str(undisturbed))
    for place in range(count):
        home = Path(shutil.copytree(old, folder / f"home-{place}"))
        kill(begin(upgrade, str(home)), after=chance.uniform(0, 0.8))
        upgrade(str(home))
        unequal += contents(home) != contents(undisturbed)
        unequal += is_unlike_rebuilt_in(home, home / "world")
        left += len([*leftovers(home), *leftovers_of_state(home / "state")])
    return {"kills": count, "unequal": unequal, "leftovers": left}


def unpack(folder: Path) -> Path:
    """A home that release 0.1 made."""
    folder.mkdir(parents=True)
    with tarfile.open(OLD_HOME) as packed:
        packed.extractall(folder, filter="data")
    return folder / "home"


def is_unlike_rebuilt_in(home: Path, world: Path) -> bool:
    """Whether the state that a home keeps of a world's rows is unlike one made anew."""
    portfolio = read_portfolio(world / "portfolio.toml")
    lake = Lake(str(home / "lake"), portfolio.name)
    return is_unlike_rebuilt(portfolio, lake, home / "state")


def contents(home: Path) -> list[str]:
    """What both databases hold, and that they are in order."""
    return [line for name in DATABASES for line in lines(home / name)]


def lines(file: Path) -> Iterator[str]:
    """What a database holds, line by line, and that it is in order."""
    with closing(sqlite3.connect(file)) as database:
        yield str(database.execute("PRAGMA integrity_check").fetchone())
        tables = database.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
        for name, made in tables:
            # MLflow writes the constraints of a table in any order
            yield f"{name}: {sorted((made or '').replace(',', ' ').split())}"
            if made and made.startswith("CREATE TABLE") and name not in OWN:
                rows = database.execute(f"SELECT * FROM {name}").fetchall()  # noqa: S608 - ours
                yield from map(str, rows)


def leftovers(home: Path) -> Iterator[Path]:
    """Files of those that were killed."""
    yield from (one for one in home.glob(".*") if one.name != ".locks")
    yield from home.glob("*.part*")
    yield from home.glob("spill/*")
