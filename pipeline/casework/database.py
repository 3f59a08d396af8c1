"""The casework database: opened by its URL, migrated, and written one transaction at a time.

SQLite (WAL) and Postgres run the same code. Writers take their turn from the start of the
transaction (`BEGIN IMMEDIATE`, an advisory lock), so what a writer reads is still true when it
writes, and ids grow in the order of the commits.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from sqlite3 import Connection as SqliteConnection

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    create_engine,
    event,
    inspect,
    make_url,
    select,
    text,
    update,
)
from sqlalchemy.exc import ArgumentError, DBAPIError

from pipeline.casework.tables import AlertedBatch, Identity
from pipeline.disk.turns import make_whole
from pipeline.failures import BrokenError

# Engine: others name the database by it without knowing what runs it
__all__ = ["DatabaseIdentity", "Engine", "give_to_home", "identity_of", "open_casework", "writer"]

NEWEST_REVISION = "0004"  # the last step in migrations/versions, known without loading Alembic
WRITER_LOCK = 7_041_776  # any number, as long as every version of this code uses the same
BUSY_TIMEOUT_MS = 30_000


def open_casework(url: str) -> Engine:
    """The casework database behind a URL such as sqlite:///casework.db, made or migrated first."""
    address = _read_url(url)
    shown = address.render_as_string(hide_password=True)
    try:
        if address.drivername == "sqlite":
            file, make = Path(str(address.database)), partial(_make_file, shown=shown)
            make_whole(file, make, what=f"the making of {file}")
        engine = _connect(address)
        if _revision(engine) != NEWEST_REVISION:
            _migrate(engine, shown)
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
            f"the casework database {shown} cannot be opened ({failure.orig}); check the address, "
            "or put its backup back"
        ) from failure
    return engine


def writer(engine: Engine) -> Engine:
    """The same database for writing: `writer(engine).begin()` waits for its turn."""
    return engine.execution_options(writes=True)


@dataclass(frozen=True, kw_only=True)
class DatabaseIdentity:
    """Which database it is, and the home that it belongs to, where that was said."""

    database: str
    home: str | None


def identity_of(engine: Engine) -> DatabaseIdentity:
    """Which database this is."""
    with engine.connect() as connection:
        row = connection.execute(select(Identity.database_id, Identity.home_id)).one()
    return DatabaseIdentity(database=row.database_id, home=row.home_id)


def give_to_home(
    engine: Engine, home: str, *, database: str | None = None, batches: Mapping[str, int]
) -> DatabaseIdentity:
    """Let the database belong to a home, under a new id where one is given.

    No portfolio named has alerts of later batches of scores than the lake has: `batches`.
    """
    values = {"home_id": home, **({"database_id": database} if database else {})}
    with writer(engine).begin() as connection:
        connection.execute(update(Identity).values(values))
        for portfolio, batch in batches.items():
            later = (AlertedBatch.portfolio == portfolio) & (AlertedBatch.batch > batch)
            connection.execute(update(AlertedBatch).where(later).values(batch=batch))
    return identity_of(engine)


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


def _make_file(part: Path, *, shown: str) -> None:
    """Make the tables in a file of their own, which nobody else sees yet."""
    engine = _connect(URL.create("sqlite", database=str(part)))
    _migrate(engine, shown)
    with engine.connect() as connection:
        # committed first: a checkpoint waits for the end of every transaction
        connection.commit()
        connection.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()


def _connect(address: URL) -> Engine:
    engine = create_engine(address)
    _set_up(engine)
    return engine


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


def _revision(engine: Engine) -> str | None:
    """The step the tables are at; a new database has none."""
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        found = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return None if found is None else str(found)


def _migrate(engine: Engine, shown: str) -> None:
    from pipeline.casework.migrations.upgrade import upgrade  # noqa: PLC0415 - Alembic is slow

    with writer(engine).begin() as connection:
        upgrade(connection, shown=shown)
