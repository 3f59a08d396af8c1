"""The casework database: opened by its URL, brought to the newest shape, and written by one transaction at a time.

SQLite (WAL) and Postgres run the same code. Writers take their turn from the start of the
transaction (`BEGIN IMMEDIATE`, an advisory lock), so what a writer reads is still true when it
writes, and ids grow in the order of the commits.
"""

from pathlib import Path
from sqlite3 import Connection as SqliteConnection

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from pipeline.failures import BrokenError

# Engine: others name the database by it without knowing what runs it
__all__ = ["Engine", "open_casework", "writer"]

MIGRATIONS = Path(__file__).parent / "migrations"
WRITER_LOCK = 7_041_776  # any number, as long as every version of this code uses the same
BUSY_TIMEOUT_MS = 30_000


def open_casework(url: str) -> Engine:
    """The casework database behind a URL such as sqlite:///strata/casework.db, created and migrated as needed."""
    address = _read_url(url)
    shown = address.render_as_string(hide_password=True)
    try:
        engine = create_engine(address)
        _set_up(engine)
        _migrate(engine)
    except ImportError as missing:
        raise ValueError(
            f"{shown} needs the package {missing.name}; install Strata with its extra postgres"
        ) from missing
    except ArgumentError as failure:
        raise ValueError(
            f"{shown} names no driver that is known; give an address such as postgresql://host/name"
        ) from failure
    except DBAPIError as failure:
        raise BrokenError(
            f"the casework database {shown} cannot be opened ({failure.orig}); check the address"
        ) from failure
    except CommandError as failure:
        raise BrokenError(
            f"the casework database {shown} is of another version ({failure}); use a newer Strata"
        ) from failure
    return engine


def writer(engine: Engine) -> Engine:
    """The same database for writing: `with writer(engine).begin() as connection` is one transaction, one at a time."""
    return engine.execution_options(writes=True)


def _read_url(url: str) -> URL:
    try:
        address = make_url(url)
    except ArgumentError as failure:
        raise ValueError(
            f"{url!r} is no database URL; give one such as sqlite:///casework.db"
        ) from failure
    if address.drivername == "postgresql":
        return address.set(drivername="postgresql+psycopg")
    if address.get_backend_name() == "postgresql":
        return address
    if address.drivername != "sqlite":
        raise ValueError(
            f"casework runs on sqlite or postgresql, not on {address.drivername}; change the URL"
        )
    if not address.database or address.database == ":memory:":
        raise ValueError(f"{url!r} names no file; give one such as sqlite:///casework.db")
    _make_folder(Path(address.database).parent)
    return address


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as failure:
        raise BrokenError(
            f"the folder {folder} cannot be made ({failure.strerror}); choose another for casework"
        ) from failure


def _set_up(engine: Engine) -> None:
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin)


def _set_up_sqlite(connection: SqliteConnection, _record: object) -> None:
    # the driver's own BEGIN comes too late: only at the first write
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA foreign_keys = ON")
    if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        connection.execute("PRAGMA journal_mode = WAL")


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
    elif writes:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITER_LOCK})")


def _migrate(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    newest = ScriptDirectory.from_config(config).get_current_head()
    with engine.connect() as connection:
        if MigrationContext.configure(connection).get_current_revision() == newest:
            return
    with writer(engine).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
