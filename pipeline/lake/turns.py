"""One at a time: who has to wait says so, waits, and gives up after a time that is said.

The lock is the system's own on a file, so that it ends with the process that holds it, however that
ends. A file is made whole or not at all: aside, under a lock, and moved into its place in one step.
"""

import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from pipeline.failures import BusyError
from pipeline.lake.durability import sync

WAIT_SECONDS = 600.0
SAID_AFTER_SECONDS = 2.0
PAUSE_SECONDS = 0.05
BESIDE = ("-wal", "-shm", "-journal")  # what SQLite keeps beside a file


@contextmanager
def turn(lock: Path, *, what: str, wait_seconds: float = WAIT_SECONDS) -> Iterator[None]:
    """Hold the lock: of several processes one is inside, the others wait.

    Raises BusyError where the wait was in vain. The lock's file is gone when nobody is inside, and
    so are the folders that were made for it.
    """
    made = [one for one in (lock.parent, *lock.parent.parents) if not one.exists()]
    held = _take(lock, what, wait_seconds)
    try:
        yield
    finally:
        with suppress(OSError):
            lock.unlink()
        held.close()
        for folder in made:
            with suppress(OSError):  # it is not empty
                folder.rmdir()


def make_whole(file: Path, make: Callable[[Path], None], *, what: str) -> None:
    """Make the SQLite file unless it is there; `make` gets a path beside it to write to."""
    if is_made(file):
        return
    with turn(file.with_name(f".{file.name}.lock"), what=what):
        if is_made(file):
            return
        part = file.with_name(f".{file.name}.part")
        _remove(part, *_beside(part), *_beside(file))
        make(part)
        sync([part])
        part.replace(file)
        sync([], [file.parent])


def is_made(file: Path) -> bool:
    """Whether the file is there; SQLite calls a file of no bytes a new database."""
    return file.is_file() and file.stat().st_size > 0


def _take(lock: Path, what: str, wait_seconds: float) -> IO[str]:
    began, is_said = time.monotonic(), False
    while True:
        held = _try(lock)
        if held is not None:
            return held
        waited = time.monotonic() - began
        if waited > wait_seconds:
            raise BusyError(
                f"another process was at work on {what} for {wait_seconds:.0f} s; "
                "run the command again when it is done"
            )
        if waited > SAID_AFTER_SECONDS and not is_said:
            is_said = True
            limit = f"up to {wait_seconds:.0f} s"
            sys.stderr.write(f"waiting, {limit}: another process is at work on {what}\n")
        time.sleep(PAUSE_SECONDS)


def _try(lock: Path) -> IO[str] | None:
    """The open file that holds the lock; None while another has it."""
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        opened = lock.open("a")
    except FileNotFoundError:  # its folder was removed by whoever was done
        return None
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(opened.fileno()).st_ino == lock.stat().st_ino:
            return opened
    except (BlockingIOError, FileNotFoundError):
        pass  # held, or removed by whoever held it
    opened.close()
    return None


def _beside(file: Path) -> list[Path]:
    return [file.with_name(file.name + end) for end in BESIDE]


def _remove(*files: Path) -> None:
    for file in files:
        file.unlink(missing_ok=True)
