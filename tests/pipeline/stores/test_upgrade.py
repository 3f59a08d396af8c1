"""A home of an earlier release is brought forward, and says what is to be trained again."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from mlflow.store.db import utils

from pipeline.failures import BrokenError, explain
from pipeline.registry.changes import open_client
from pipeline.registry.schema import is_newest
from pipeline.stores.upgrade import bring_forward
from tests.demo_home import Demo
from tests.old_home import unpack, use, workspace_of
from tests.pipeline.stores.test_faults import be_of_format, bundle_of

config_of: Callable[[str], Any] = utils._get_alembic_config


def told(home: Demo) -> list[str]:
    workspace = workspace_of(home)
    return list(bring_forward(workspace.agreement, workspace.registry))


def revisions(home: Path) -> list[str]:
    found = []
    for name in ("casework.db", "mlflow.db"):
        with closing(sqlite3.connect(home / name)) as database:
            found.append(database.execute("SELECT version_num FROM alembic_version").fetchone()[0])
    return found


def be_of_an_older_mlflow(file: Path) -> None:
    command.downgrade(config_of(f"sqlite:///{file}"), "-1")


def test_a_home_of_0_1_is_brought_forward_once(tmp_path: Path) -> None:
    home = unpack(tmp_path)
    first = told(home)
    assert first == told(home)
    assert first == [
        "casework database: as this release has it",
        "registry: as this release has it",
        "portfolio world: version 1 decides",
    ]
    assert revisions(home.home)[0] == "0004"
    use(home)


def test_a_registry_of_an_older_mlflow_is_refused_naming_upgrade_which_mends_it(
    home: Demo,
) -> None:
    be_of_an_older_mlflow(home.home / "mlflow.db")
    before = revisions(home.home)
    with pytest.raises(BrokenError, match="make a backup, then run strata upgrade") as raised:
        open_client(workspace_of(home).registry)
    assert explain(raised.value).code == 4
    assert "registry: brought forward" in told(home)
    assert is_newest(home.home / "mlflow.db")
    assert revisions(home.home) != before
    use(home)


def test_a_registry_of_a_newer_mlflow_stays_as_it_is(home: Demo) -> None:
    with closing(sqlite3.connect(home.home / "mlflow.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = 'of tomorrow'")
    with pytest.raises(BrokenError, match="install the MLflow that made it, or a newer one"):
        told(home)
    assert revisions(home.home)[1] == "of tomorrow"
    assert not list(home.home.glob(".mlflow*"))


def test_tables_that_lack_what_is_read_name_upgrade(home: Demo) -> None:
    with closing(sqlite3.connect(home.home / "mlflow.db")) as database, database:
        database.execute("ALTER TABLE registered_model_aliases RENAME TO former")
    with pytest.raises(BrokenError, match=r"another release of MLflow .*run strata upgrade"):
        use(home)


def test_upgrade_says_which_model_is_to_be_trained_again(home: Demo) -> None:
    be_of_format(bundle_of(home.home), 3)
    assert told(home)[-1].startswith("portfolio world: version 1 of portfolio world was made by")
    assert told(home)[-1].endswith("run strata train and strata promote")
