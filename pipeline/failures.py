"""How a command ends: what went wrong in one sentence with its remedy, and the exit code.

0 done; 2 bad input; 3 busy, another run is at work; 4 broken: storage, a database or a service.
"""

import errno
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from traceback import format_exception

BAD_INPUT, BUSY, BROKEN = 2, 3, 4
DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
FULL = {errno.ENOSPC, errno.EDQUOT}
# packages whose errors mean that what they keep or reach is not there
SERVICES = {
    "mlflow": "MLflow",
    "prefect": "Prefect",
    "httpx": "Prefect",
    "sqlalchemy": "the casework database",
    "psycopg": "the casework database",
    "alembic": "the casework database",
    "sqlite3": "a database of the home",
    "deltalake": "the lake",
    "_internal": "the lake",  # what deltalake's own engine calls itself
}
BUGS = (KeyError, IndexError)  # no sentences: nobody wrote them for a person
LOG = "strata.log"


class BusyError(ValueError):
    """Another process is at work on the same thing; the work can be done again."""


class BrokenError(OSError, ValueError):
    """Storage, a database or a service is not there; the sentence says which, and the remedy."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """The exit code and the sentence of a command that failed."""

    code: int
    sentence: str
    is_expected: bool = True


def explain(error: BaseException) -> Failure:
    """Say what went wrong, and what to do about it.

    >>> explain(ValueError("the file x is empty; name another"))
    Failure(code=2, sentence='the file x is empty; name another', is_expected=True)
    >>> explain(PermissionError(13, "Permission denied", "/srv/lake")).code
    4
    """
    code, is_expected = BROKEN, True
    sentence = f"something unexpected went wrong ({type(error).__name__}: {_line(error)})"
    if any(_is_lock(cause) for cause in _causes(error)):
        waited = "a database is locked by another process, also after a wait of 30 s"
        code, sentence = BUSY, f"{waited}; run the command again when that is done"
    elif any(_is_out_of_memory(cause) for cause in _causes(error)):
        remedy = "give it more, or take fewer columns, or the rows in several files"
        sentence = f"the memory does not suffice ({_line(error)[:200]}); {remedy}"
    elif isinstance(error, BusyError):
        code, sentence = BUSY, _line(error)
    elif isinstance(error, BrokenError):
        sentence = _line(error)
    elif isinstance(error, OSError):
        sentence = _storage(error)
    elif _is_broken_file(error):
        sentence = f"a file cannot be read ({_line(error)[:200]}); strata check says which"
    elif (service := _service(error)) and not isinstance(error, ValueError):
        remedy = "check that it is there and can be reached, then run the command again"
        sentence = f"{service} failed ({_line(error)}); {remedy}"
    elif isinstance(error, (ValueError, LookupError)) and not isinstance(error, BUGS):
        code, sentence = BAD_INPUT, _line(error)
    else:
        is_expected = False
    return Failure(code=code, sentence=sentence, is_expected=is_expected)


def write_details(error: BaseException, folder: Path) -> Path:
    """Append all that is known of an error to the log in a folder; returns the log."""
    log = folder / LOG
    with log.open("a", encoding="utf-8") as file:
        file.writelines([*format_exception(error), "\n"])
    return log


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what led to it, the error first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_lock(error: BaseException) -> bool:
    return isinstance(error, sqlite3.OperationalError) and "locked" in str(error)


def _is_broken_file(error: BaseException) -> bool:
    """Whether a Parquet file is not what it was written as, in the words of who read it."""
    is_readers = _package(error) in {"pyarrow", "duckdb", "_duckdb"}
    return (
        is_readers and re.search(r"(?i)parquet|corrupt|crc|thrift|snappy", str(error)) is not None
    )


def _is_out_of_memory(error: BaseException) -> bool:
    is_duckdbs = type(error).__name__ == "OutOfMemoryException"  # whose import takes its time
    return isinstance(error, MemoryError) or is_duckdbs


def _service(error: BaseException) -> str | None:
    """What failed, where an error or its cause comes from a package that reaches a service."""
    found = [SERVICES[name] for cause in _causes(error) if (name := _package(cause)) in SERVICES]
    return found[0] if found else None


def _package(error: BaseException) -> str:
    return type(error).__module__.partition(".")[0]


def _line(error: BaseException) -> str:
    """What an error says, on one line."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _storage(error: OSError) -> str:
    found = re.search(r"os error (\d+)", str(error))  # as Delta's engine writes it
    number = error.errno or (int(found[1]) if found else 0)
    where = error.filename or _line(error)
    if number in DENIED:
        return f"no permission for {where}; give it to this user, or set STRATA_HOME elsewhere"
    if number in FULL:
        return f"the disk is full ({where}); free some space and run the command again"
    return f"{_line(error)}; check that it is there and in order, then run the command again"
