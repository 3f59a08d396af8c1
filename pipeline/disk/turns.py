"""One at a time: who has to wait says so, waits, and gives up after a time that is said.

The lock is the system's own on a file, so that it ends with the process that holds it, however that
ends; the file stays, empty. Another file is made whole or not at all: aside, under a lock, and
moved into its place in one step.
"""

import fcntl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pipeline.disk.durability import sync
from pipeline.failures import BusyError

LOCKS = ".locks"
WAIT_SECONDS = 600.0
SAID_AFTER_SECONDS = 2.0
PAUSE_SECONDS = 0.02
BESIDE = ("-wal", "-shm", "-journal")  # what SQLite keeps beside a file


@contextmanager
def turn(file: Path, *, what: str, wait_seconds: float = WAIT_SECONDS) -> Iterator[None]:
    """Be the only one that works on a file or folder: of several processes the others wait.

    Raises BusyError where the wait was in vain.
    """
    lock = file.parent / LOCKS / f"{file.name}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a", encoding="utf-8") as held:
        wait_for(held, what=what, wait_seconds=wait_seconds)
        yield


def wait_for(held: IO[str], *, what: str, wait_seconds: float = WAIT_SECONDS) -> None:
    """Have the lock on an open file until it is closed. Raises BusyError as `turn` does."""
    began, is_said = time.monotonic(), False
    while True:
        try:
            return fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
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


def make_whole(file: Path, make: Callable[[Path], None], *, what: str) -> None:
    """Make the SQLite file unless it is there; `make` gets a path beside it to write to."""
    if is_made(file):
        return
    with turn(file, what=what):
        if is_made(file):
            return
        part = file.with_name(f".{file.name}.part")
        for left in (part, *_beside(part), *_beside(file)):
            left.unlink(missing_ok=True)
        make(part)
        sync([part])
        part.replace(file)
        sync([], [file.parent])


def is_made(file: Path) -> bool:
    """Whether the file is there, or a folder; SQLite calls a file of no bytes a new database."""
    return file.is_dir() or (file.is_file() and file.stat().st_size > 0)


def _beside(file: Path) -> list[Path]:
    return [file.with_name(file.name + end) for end in BESIDE]
