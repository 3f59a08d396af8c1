"""The tables of MLflow's sqlite file, which each release of MLflow may want otherwise.

They are brought forward in a copy beside the file, which takes its place in one step.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from mlflow.store.db import utils
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import Engine, create_engine, event

from pipeline.disk.durability import sync
from pipeline.disk.turns import turn
from pipeline.failures import BrokenError

WAIT_SECONDS = 30.0
# MLflow gives these no types
open_store: Callable[[str, str], Any] = SqlAlchemyStore
newest_revision: Callable[[], str] = utils._get_latest_schema_revision
upgrade: Callable[[Engine], None] = utils._upgrade_db


def make_tables(part: Path) -> None:
    """Make a new file, which is synced when all is in it: a third of the time."""
    event.listen(Engine, "connect", _do_not_sync)
    try:
        open_store(f"sqlite:///{part}", f"{part.parent}/mlruns").engine.dispose()
    finally:
        event.remove(Engine, "connect", _do_not_sync)


def _do_not_sync(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA journal_mode = MEMORY")


def is_newest(file: Path) -> bool:
    """Whether the tables are those of the MLflow that is installed."""
    return _revision(file) == newest_revision()


def bring_forward(file: Path) -> bool:
    """Bring the tables to those of the MLflow that is installed; returns whether they were not.

    Raises BrokenError where a newer MLflow made them, or they cannot be read.
    """
    with turn(file, what=str(file)):
        if is_newest(file):
            return False
        part = file.with_name(f".{file.name}.part")
        part.unlink(missing_ok=True)
        _copy(file, part)
        engine = create_engine(f"sqlite:///{part}")
        try:
            upgrade(engine)
        except Exception as error:
            part.unlink()
            what = " ".join(str(error).split())
            raise BrokenError(
                f"{file} cannot be brought to the MLflow that is installed ({what}); install the "
                "MLflow that made it, or a newer one"
            ) from error
        finally:
            engine.dispose()
        sync([part])
        part.replace(file)
        sync([], [file.parent])
    return True


def _copy(file: Path, part: Path) -> None:
    with (
        closing(sqlite3.connect(file, timeout=WAIT_SECONDS)) as source,
        closing(sqlite3.connect(part)) as copy,
    ):
        source.execute("PRAGMA journal_mode = DELETE")  # nothing is left beside the file
        source.backup(copy)


def _revision(file: Path) -> str | None:
    try:
        with closing(sqlite3.connect(file, timeout=WAIT_SECONDS)) as database:
            row = database.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return None
        raise
    return None if row is None else str(row[0])
