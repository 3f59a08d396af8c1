"""On the disk for good: the one function that makes sure of what was written.

What a program writes stays in memory for seconds; a power cut loses it. A file is safe once it and
the folder that names it were synced.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

LOG = "_delta_log"
LOCK = "_writing"  # Delta leaves alone what begins so
# in a log entry of ours: how many lines it has, so that one that was cut is found
LINES = "strata.lines"
# a data file of ours is named kind-uuid-digest
COMPACTED = "compacted"
DIGEST_BYTES = 8
# who is told of each file and folder once it is safe: whoever plays power cuts
WATCHERS: list[Callable[[Path], None]] = []


def sync(files: Iterable[Path], folders: Iterable[Path] = ()) -> None:
    """Return when the files are on the disk, and then the names in their folders.

    `folders` are further ones that got a new name. Raises OSError where the disk does not take it.
    """
    files = list(files)
    for file in files:
        _sync(file)
    for folder in dict.fromkeys([*(file.parent for file in files), *folders]):
        _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    for tell in WATCHERS:
        tell(path)


def is_remote(uri: str) -> bool:
    """Whether a table lies in an object store, which keeps what it took: nothing is synced."""
    return uri.startswith(("s3:", "gs:", "az:", "abfss:", "http"))
