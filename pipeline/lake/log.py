"""A table's log: opened once for as long as nobody adds to it, and kept as short as readers allow.

Opening a table reads its log, which costs more than a small commit. Whether an opened one is still
the newest is told by two looks: its own entry is as it was, and there is none after it.
"""

import json
import os
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable

from pipeline.disk.durability import LOG, is_remote

KEPT_ENTRIES = 100  # versions that a process may begin to read: eight hours of five-minute runs
KEPT_HOURS = 48  # a file that left the table: no reader takes longer
MAX_OPENED = 64  # tables and versions that a process holds
_Entry = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Files of rows that came in, as the log tells of them, and the paths of those that went."""

    added: Sequence[dict[str, Any]]
    removed: Sequence[str]


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


def mark_of(uri: str, version: int) -> int:
    """What a version's log entry says, as a number: by it the version is known again.

    A table that was repaired or put back may have another version of that number. -1 where the
    entry is gone.
    """
    try:
        entry = (Path(uri) / LOG / f"{version:020}.json").read_bytes()
    except FileNotFoundError:
        return -1
    return int.from_bytes(blake2b(entry, digest_size=8).digest()) >> 1


def files_added(
    uri: str, *, after: int, until: int, mark: int | None = None, with_changed: bool = False
) -> list[str] | None:
    """The files of rows that came in the versions after one, up to another.

    Files that were only put together add nothing. None where the log no longer goes back so far,
    where the version has another `mark`, or where rows were changed in the meantime: what stands in
    a file is then not to be told. `with_changed` files that have changed rows are among them, with
    the rows beside these.
    """
    if mark is not None and mark_of(uri, after) != mark:
        return None
    changes = changes_of(uri, after=after, until=until)
    if changes is None or (changes.removed and not with_changed):
        return None
    return [action["path"] for action in changes.added]


def changes_of(uri: str, *, after: int, until: int) -> Changes | None:
    """What the versions after one, up to another, changed; files put together change nothing.

    None where the log does not go back so far, or lies in an object store.
    """
    if is_remote(uri) or until < after:
        return None
    added, removed = list[dict[str, Any]](), list[str]()
    for version in range(after + 1, until + 1):
        try:
            actions = list(_actions(Path(uri) / LOG / f"{version:020}.json"))
        except FileNotFoundError:
            return None
        new = [(kind, action) for kind, action in actions if action.get("dataChange", True)]
        added += [action for kind, action in new if kind == "add"]
        removed += [action["path"] for kind, action in new if kind == "remove"]
    return Changes(added=added, removed=removed)


def is_untouched(uri: str, column: str, before: datetime, *, after: int, until: int) -> bool:
    """Whether the rows with a moment before another are what they were at an earlier version.

    Not so where that cannot be told any more.
    """
    changes = changes_of(uri, after=after, until=until)
    if changes is None:
        return False
    if not changes.removed:
        return all(_least(action, column) >= before for action in changes.added)
    try:
        old = _rows(uri, changes.removed, column, before)
        new = _rows(uri, [action["path"] for action in changes.added], column, before)
    except FileNotFoundError:  # gone with what was vacuumed
        return False
    return _are_same(old, new)


def rows_added(uri: str, *, after: int, until: int) -> pa.Table | None:
    """The rows that came in; None where this cannot be told, or where others went."""
    changes = changes_of(uri, after=after, until=until)
    if changes is None or changes.removed:
        return None
    try:
        files = [_read(uri, action["path"]) for action in changes.added]
    except FileNotFoundError:
        return None
    return pa.concat_tables(files, promote_options="default") if files else pa.table({})


def _actions(entry: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for line in entry.read_text(encoding="utf-8").splitlines():
        yield from json.loads(line).items()


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


def _least(action: dict[str, Any], column: str) -> datetime:
    told = json.loads(action.get("stats") or "{}").get("minValues", {}).get(column)
    return datetime.fromisoformat(told) if told else datetime.min.replace(tzinfo=UTC)


def _rows(uri: str, paths: Sequence[str], column: str, before: datetime) -> pa.Table:
    files = [_read(uri, path).filter(pc.field(column) < before) for path in paths]
    return pa.concat_tables(files, promote_options="default") if files else pa.table({})


def _read(uri: str, path: str) -> pa.Table:
    return pq.read_table(Path(uri) / path, page_checksum_verification=True)


def _are_same(old: pa.Table, new: pa.Table) -> bool:
    """Whether two tables have the same rows, each as often; a column that lacks is null."""
    if not old.num_rows and not new.num_rows:
        return True
    if old.num_rows != new.num_rows:
        return False
    both = pa.concat_tables([old, new], promote_options="default")
    by = [(name, "ascending") for name in ("transaction_id", *sorted(both.column_names))]
    one, other = both.slice(0, old.num_rows), both.slice(old.num_rows)
    return bool(one.sort_by(by).equals(other.sort_by(by)))
