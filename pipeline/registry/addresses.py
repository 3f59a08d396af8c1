"""Where artifacts lie: kept relative to the home, so that the home can be moved and copied.

MLflow writes absolute addresses into its sqlite file, and refuses `mlflow-artifacts:` without a
server. Ours are relative to the folder that holds file and artifacts; we resolve them under it, and
MLflow does where it runs in that folder. Absolute ones, as release 0.1 left them, are mended.
"""

import sqlite3
from contextlib import closing
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

WAIT_SECONDS = 30.0
ADDRESSES = (
    ("experiments", "experiment_id", "artifact_location"),
    ("runs", "run_uuid", "artifact_uri"),
)
DEFAULT_EXPERIMENT = 0  # MLflow's own; it lies under the folder where MLflow was first started


def relative_address(address: str, artifacts: str) -> str:
    """Return the address relative to the home whose artifacts lie in the folder of this name.

    Whatever is not on this machine's disk, or not in such a folder, stays as it is.

    >>> relative_address("file:///var/home/mlflow-artifacts/shop/1/artifacts", "mlflow-artifacts")
    'mlflow-artifacts/shop/1/artifacts'
    >>> relative_address("s3://bucket/mlflow-artifacts/shop", "mlflow-artifacts")
    's3://bucket/mlflow-artifacts/shop'
    """
    parts = urlsplit(address)
    _, found, below = parts.path.partition(f"/{artifacts}/")
    return f"{artifacts}/{below}" if found and parts.scheme in {"", "file"} else address


def folder_of(address: str, home: Path, artifacts: str) -> Path:
    """Return the folder that an address means in this home, wherever that was when it was written.

    >>> folder_of("file:///old/mlflow-artifacts/my%20shop/1", Path("/new"), "mlflow-artifacts")
    PosixPath('/new/mlflow-artifacts/my shop/1')
    """
    return home / path_of(relative_address(address, artifacts))


def path_of(address: str) -> str:
    """Return the path that a path or a file: address means."""
    return unquote(urlsplit(address).path)


def make_relative(file: Path, artifacts: str) -> int:
    """Make the addresses in the file relative, in one transaction; returns how many were not."""
    with closing(sqlite3.connect(file, timeout=WAIT_SECONDS)) as database, database:
        changes = [change for table in ADDRESSES for change in _changes(database, table, artifacts)]
        for query, address, key in changes:
            database.execute(query, (address, key))
    return len(changes)


def _changes(
    database: sqlite3.Connection, table: tuple[str, str, str], artifacts: str
) -> list[tuple[str, str, str | int]]:
    name, key, column = table
    rows = database.execute(f"SELECT {key}, {column} FROM {name}").fetchall()  # noqa: S608 - ours
    update = f"UPDATE {name} SET {column} = ? WHERE {key} = ?"  # noqa: S608 - ours
    wanted = [(one, address, _wanted(one, address, artifacts)) for one, address in rows]
    return [(update, new, one) for one, address, new in wanted if new != address]


def _wanted(key: str | int, address: str, artifacts: str) -> str:
    relative = relative_address(address, artifacts)
    is_elsewhere = PurePosixPath(urlsplit(relative).path).is_absolute()
    if key == DEFAULT_EXPERIMENT and is_elsewhere and urlsplit(relative).scheme in {"", "file"}:
        return f"{artifacts}/Default"
    return relative
