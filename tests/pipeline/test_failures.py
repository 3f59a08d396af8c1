"""Whatever goes wrong ends with one sentence, its remedy and the exit code that scripts go by."""

import errno
import sqlite3
from pathlib import Path

import duckdb
import pytest
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import OperationalError

from pipeline.casework import open_casework
from pipeline.failures import BrokenError, explain, write_details
from pipeline.lake.commits import LakeBusyError

LOCKED = sqlite3.OperationalError("database is locked")


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (ValueError("x is empty;\nname another."), 2, "x is empty; name another"),
        (LookupError("there is no run 7; train again"), 2, "there is no run 7; train again"),
        (LakeBusyError("written to; run again"), 3, "written to; run again"),
        (LOCKED, 3, "also after a wait of 30 s; run the command again when"),
        (OperationalError("UPDATE", {}, LOCKED), 3, "a database is locked by another process, "),
        (BrokenError("the server is away; start it"), 4, "the server is away; start it"),
        (PermissionError(errno.EACCES, "denied", "/srv"), 4, "no permission for /srv; give it"),
        (OSError("Permission denied (os error 13)"), 4, "no permission for Permission denied"),
        (OSError(errno.ENOSPC, "No space left", "/srv"), 4, "the disk is full (/srv); free some"),
        (NotADirectoryError(20, "Not a directory", "/srv"), 4, "/srv'; check that it is there"),
        (ConnectionRefusedError(111, "refused"), 4, "refused; check that it is there"),
        (MlflowException("no schema"), 4, "MLflow failed (no schema); check that it is there"),
        (sqlite3.DatabaseError("malformed"), 4, "a database of the home failed (malformed)"),
        (KeyError("amount"), 4, "something unexpected went wrong (KeyError: 'amount')"),
        (RuntimeError(""), 4, "something unexpected went wrong (RuntimeError: RuntimeError)"),
        (MemoryError(), 4, "the memory does not suffice (MemoryError); give it more, or take few"),
        (duckdb.OutOfMemoryException("2.0 GiB used"), 4, "does not suffice (2.0 GiB used); give"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_an_error_has_a_code_and_a_sentence(error: Exception, code: int, sentence: str) -> None:
    if isinstance(error, OperationalError):
        error.__cause__ = LOCKED
    failure = explain(error)
    assert failure.code == code
    assert sentence in failure.sentence
    assert "\n" not in failure.sentence


def test_prefect_away_is_broken() -> None:
    error = type("ApiError", (Exception,), {"__module__": "prefect.exceptions"})("no api")
    assert explain(error).sentence.startswith("Prefect failed (no api); check that it is there")


def test_a_casework_database_that_cannot_be_opened_is_broken(tmp_path: Path) -> None:
    (tmp_path / "casework.db").write_text("this is no database, and long enough to be read as one")
    with pytest.raises(BrokenError, match=r"cannot be opened .*; check the address") as raised:
        open_casework(f"sqlite:///{tmp_path / 'casework.db'}")
    assert explain(raised.value).code == 4


def test_the_details_are_added_to_a_log(tmp_path: Path) -> None:
    for word in ("first", "second"):
        log = write_details(RuntimeError(word), tmp_path)
    assert [word in log.read_text() for word in ("first", "second")] == [True, True]
