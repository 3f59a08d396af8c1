"""Reads MLflow's sqlite file without MLflow, which takes seconds to import: versions and figures.

The file is opened read-only; a test holds what is read here equal to what MLflow's client says.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipeline.disk.turns import is_made
from pipeline.failures import BrokenError
from pipeline.registry.model_version import Version, model_name

DELETED = "Deleted_Internal"  # the stage that MLflow gives a version that was deleted
WAIT_SECONDS = 30.0
UPGRADE = "make a backup, then run strata upgrade"
BY_ALIAS = """
    SELECT v.version, v.run_id FROM registered_model_aliases a
    JOIN model_versions v USING (workspace, name, version)
    WHERE a.workspace = 'default' AND a.name = ? AND a.alias = ? AND v.current_stage <> ?"""
BY_NUMBER = """
    SELECT version, run_id FROM model_versions
    WHERE workspace = 'default' AND name = ? AND version = ? AND current_stage <> ?"""
TAGS = """
    SELECT key, value FROM model_version_tags
    WHERE workspace = 'default' AND name = ? AND version = ?"""
METRICS = (
    "SELECT key, CASE WHEN is_nan THEN NULL ELSE value END FROM latest_metrics WHERE run_uuid = ?"
)
ADDRESS = "SELECT artifact_uri FROM runs WHERE run_uuid = ?"


def version_by_alias(file: Path, portfolio: str, alias: str) -> Version | None:
    """Return the version that an alias points to, if any."""
    return _version(file, portfolio, BY_ALIAS, alias)


def version_by_number(file: Path, portfolio: str, number: str) -> Version | None:
    """Return a version by its number, if there is one."""
    return _version(file, portfolio, BY_NUMBER, number)


def artifact_address(file: Path, run_id: str) -> str:
    """Return where the run's artifacts lie, as MLflow has it written down."""
    with _reading(file) as database:
        found = database.execute(ADDRESS, (run_id,)).fetchone()
    if found is None:
        raise LookupError(f"{file} has no run {run_id}; run strata train again")
    return str(found[0])


def _version(file: Path, portfolio: str, query: str, wanted: str) -> Version | None:
    if not is_made(file):
        return None
    name = model_name(portfolio)
    with _reading(file) as database:
        found = database.execute(query, (name, wanted, DELETED)).fetchone()
        if found is None:
            return None
        number, run_id = found
        return Version(
            number=str(number),
            run_id=str(run_id),
            metrics=_metrics(database, run_id),
            tags=dict(database.execute(TAGS, (name, number)).fetchall()),
        )


def _metrics(database: sqlite3.Connection, run_id: str) -> dict[str, float]:
    found: list[tuple[str, Any]] = database.execute(METRICS, (run_id,)).fetchall()
    return {name: float("nan") if value is None else float(value) for name, value in found}


@contextmanager
def _reading(file: Path) -> Iterator[sqlite3.Connection]:
    """Open the file read-only; a transaction holds one state of it."""
    address = f"file:{quote(str(file))}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=WAIT_SECONDS)) as database:
            database.execute("BEGIN")
            yield database
    except sqlite3.Error as error:
        if "locked" in str(error):
            raise
        if "no such" in str(error):
            raise BrokenError(
                f"{file} was made by another release of MLflow ({error}); {UPGRADE}"
            ) from error
        raise BrokenError(
            f"{file} cannot be read ({error}); put its backup back, or delete it where no model "
            "was trained yet"
        ) from error
