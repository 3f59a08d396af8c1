"""A table's log: opened once for as long as nobody adds to it, and kept as short as readers allow.

Opening a table reads its log, which costs more than a small commit. Whether an opened one is still
the newest is told by two looks: its own entry is as it was, and there is none after it.
"""

import os
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from deltalake import DeltaTable

from pipeline.disk.durability import LOG, is_remote

KEPT_ENTRIES = 100  # versions that a process may begin to read: eight hours of five-minute runs
KEPT_HOURS = 48  # a file that left the table: no reader takes longer
MAX_OPENED = 64  # tables and versions that a process holds
_Entry = tuple[int, int, int]


@dataclass(frozen=True)
class _Opened:
    table: DeltaTable
    entry: _Entry  # of its version's log entry: which file, how long, changed when


_opened = OrderedDict[tuple[str, int], _Opened]()  # by place and version, the last opened last
_newest = dict[str, int]()  # the version that was the newest when the table was opened last


def is_table(uri: str) -> bool:
    """Whether a table was begun there."""
    if is_remote(uri):
        return DeltaTable.is_deltatable(uri)
    try:
        with os.scandir(Path(uri) / LOG) as found:
            return any(_is_of_log(one.name) for one in found)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _is_of_log(name: str) -> bool:
    return name[:20].isdigit() and name.endswith((".json", ".parquet"))


def open_table(uri: str, version: int | None = None) -> DeltaTable:
    """The table as it stands, or as of a version; nobody changes what is returned.

    Within a process a version that was read stays readable when its log entry is gone.
    """
    if is_remote(uri):
        return DeltaTable(uri, version=version)
    wanted = _newest.get(uri, -1) if version is None else version
    held = _opened.get((uri, wanted))
    if held and _is_valid(uri, wanted, held.entry, is_newest=version is None):
        return held.table
    table = DeltaTable(uri, version=version)
    entry = _entry_of(uri, table.version())
    if version is None:
        _newest[uri] = table.version()
    if entry is not None:
        _opened[uri, table.version()] = _Opened(table, entry)
        while len(_opened) > MAX_OPENED:
            _opened.popitem(last=False)
    return table


def _is_valid(uri: str, version: int, entry: _Entry, *, is_newest: bool) -> bool:
    now = _entry_of(uri, version)
    if is_newest:
        return now == entry and _entry_of(uri, version + 1) is None
    return now == entry or (now is None and is_table(uri))


def _entry_of(uri: str, version: int) -> _Entry | None:
    try:
        found = (Path(uri) / LOG / f"{version:020}.json").stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def forget_entries(uri: str, version: int) -> None:
    """Delete the entries that nobody reads any more, now that a checkpoint sums up the version.

    The last KEPT_ENTRIES versions stay, with the checkpoint they rest on. So does for KEPT_HOURS
    what says of which files others were made: a broken file is restored by it.
    """
    log = Path(uri) / LOG
    with os.scandir(log) as found:
        names = sorted(one.name for one in found if _is_of_log(one.name))
    sums = [int(name[:20]) for name in names if ".checkpoint" in name]
    first = max((one for one in sums if one <= version - KEPT_ENTRIES), default=0)
    for name in names:
        if int(name[:20]) < first and _is_done_with(log / name):
            (log / name).unlink(missing_ok=True)


def _is_done_with(file: Path) -> bool:
    if file.suffix != ".json" or time.time() - file.stat().st_mtime > KEPT_HOURS * 3600:
        return True
    return '"remove":' not in file.read_text(encoding="utf-8")
