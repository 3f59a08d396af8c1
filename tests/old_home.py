"""A home that release 0.1 made, unpacked: 2,500 transactions, a champion, thirty alerts."""

import tarfile
from datetime import UTC, datetime
from pathlib import Path

from pipeline.casework import Engine, add_user, decide, open_casework, queue
from pipeline.ingest.verdicts import collect_labels
from pipeline.lake.tables import Lake
from pipeline.settings import Settings
from pipeline.workspace import Workspace
from tests.demo_home import ROOT, Demo

RELEASE_01 = ROOT / "tests" / "fixtures" / "home-0.1.tar.xz"
NOW = datetime(2025, 7, 1, tzinfo=UTC)


def unpack(folder: Path) -> Demo:
    """Unpack the home into a folder."""
    with tarfile.open(RELEASE_01) as packed:
        packed.extractall(folder, filter="data")
    return Demo(home=folder / "home", printed="")


def workspace_of(home: Demo, *, adopt: bool = False) -> Workspace:
    """What a command on the home's portfolio works with, in this process."""
    settings = Settings.read({"STRATA_HOME": str(home.home)})
    return Workspace(settings=settings, file=home.portfolio, adopt=adopt)


def use(home: Demo, *, adopt: bool = False) -> None:
    """What scoring does with the stores before it scores."""
    workspace = workspace_of(home, adopt=adopt)
    _ = workspace.champion
    collect_labels(workspace.lake, workspace.casework)
    workspace.casework.dispose()


def give_verdicts(home: Path, count: int, *, by: str, now: datetime = NOW) -> list[str]:
    """Somebody new decides so many open alerts; returns the transactions that are labelled."""
    casework = open_casework(f"sqlite:///{home / 'casework.db'}")
    add_user(casework, by, role="analyst", password="a long password", now=now)
    for alert in queue(casework, "world", limit=count):
        decide(casework, alert.id, verdict="fraud", by=by, now=now)
    return labelled(casework)


def labelled(casework: Engine) -> list[str]:
    """The transactions of the database's labels, in their order."""
    with casework.connect() as connection:
        found = connection.exec_driver_sql("SELECT transaction_id FROM label ORDER BY id")
        return [name for (name,) in found]


def reviewed(home: Path) -> list[str]:
    """The transactions of the verdicts in the lake, as often as they are there."""
    labels = Lake(str(home / "lake"), "world").read("labels")
    assert labels is not None
    return sorted(one["transaction_id"] for one in labels.to_pylist() if one["source"] == "review")
