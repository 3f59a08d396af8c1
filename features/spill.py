"""A folder for what does not fit into memory: the user's alone, and gone when its run is over.

A run that is killed leaves its folder behind; the next one removes it. A folder whose run still
lives is told by the lock that the run holds.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

PREFIX = "strata-"
FORMER = "ingest-"  # as release 0.1 named those of ingest
LOCK = ".lock"


@contextmanager
def spill_folder(parent: Path | None) -> Iterator[Path]:
    """A new folder in the parent, or where the system keeps such; those left behind are removed."""
    new = [] if parent is None else [one for one in (parent, *parent.parents) if not one.exists()]
    if parent is not None:
        parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        with _alone(parent):
            if parent is not None:
                remove_stale(parent)
            made = TemporaryDirectory(dir=parent, prefix=PREFIX)  # mode 0700
            lock = (Path(made.name) / LOCK).open("w")
            fcntl.flock(lock, fcntl.LOCK_EX)
        with made, lock:
            yield Path(made.name)
    finally:
        _remove_empty(new)


@contextmanager
def _alone(parent: Path | None) -> Iterator[None]:
    """Let nobody look into the parent meanwhile: a folder there is locked, or left behind."""
    if parent is None:
        yield
        return
    descriptor = os.open(parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def remove_stale(parent: Path) -> None:
    """Remove folders whose runs were killed."""
    for folder in (*parent.glob(f"{PREFIX}*"), *parent.glob(f"{FORMER}*")):
        lock = folder / LOCK
        if not (lock.is_file() and _is_held(lock)):
            shutil.rmtree(folder, ignore_errors=True)


def _remove_empty(folders: list[Path]) -> None:
    """Leave no home behind where a first run was refused, nothing written."""
    for folder in folders:
        with suppress(OSError):  # it is not empty
            folder.rmdir()


def _is_held(lock: Path) -> bool:
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True  # by a run, or it is not ours to look at
    return False
