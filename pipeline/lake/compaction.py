"""Small files made into few: months of small commits stay as quick to read as the first day's.

Done by the runs themselves once a table has many. Readers keep what they read: a file that left
the table stays for two days.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
from deltalake import DeltaTable

from pipeline.disk.durability import LOCK, LOG, is_remote, sync
from pipeline.lake.changes import fitted, in_utc
from pipeline.lake.checking import CHECKPOINT, require_whole
from pipeline.lake.commits import NO_HOOKS, Change, commit, sync_entry, writing
from pipeline.lake.data_files import dataset_of
from pipeline.lake.log import KEPT_HOURS, forget_entries, is_table, open_table
from pipeline.lake.tables import MONTH_OF, Lake, TableName

SMALL_BYTES = 16_000_000
BUNDLE_BYTES = 2 * SMALL_BYTES
MAX_SMALL = 50  # files that compaction would save
MAX_ENTRIES = 20  # log entries since the last checkpoint: each is read by each reader


@contextmanager
def looked_after(lake: Lake, *, is_dry: bool = False) -> Iterator[None]:
    """Refuse to begin with a broken table, and maintain the tables when the work is done.

    Writers take turns. Raises BrokenError with the way back, BusyError where another process is at
    work for too long. A run that `is_dry` writes nothing.
    """
    with nullcontext() if is_dry else lake.turn():
        require_whole(lake.folder)
        yield
        if not is_dry:
            maintain(lake)


def maintain(lake: Lake) -> None:
    """Compact, checkpoint and vacuum the tables that are due, and remove what killed runs left."""
    for table in get_args(TableName):
        uri = lake.uri(table)
        if is_table(uri):
            _maintain(uri, MONTH_OF.get(table))


def _maintain(uri: str, month: str | None) -> None:
    if not is_remote(uri) and _has_left(Path(uri) / LOCK):
        with writing(uri):
            pass
    table = open_table(uri)
    small = _small_files(table, month)
    is_compacted = len(small) - len({_month(one, month) for one in small}) > MAX_SMALL
    if is_compacted:
        compact(uri, month)
    if is_compacted or _entries(uri, table) > MAX_ENTRIES:
        checkpoint(uri)


def _has_left(note: Path) -> bool:
    return note.exists() and note.stat().st_size > 0


def _small_files(table: DeltaTable, month: str | None) -> list[dict[str, Any]]:
    """The small files, the oldest first."""
    actions = pa.table(table.get_add_actions()).select(["path", "size_bytes", "modification_time"])
    small = [one for one in actions.to_pylist() if one["size_bytes"] < SMALL_BYTES]
    return sorted(small, key=lambda one: (one["modification_time"], one["path"]))


def _month(action: dict[str, Any], month: str | None) -> str:
    """The folder of a file's month; one of a former version lies beside the folders."""
    return str(action["path"]).rpartition("/")[0] if month else ""


def compact(uri: str, month: str | None) -> None:
    """Put the small files of each month together; rows and their order stay as they are.

    As many at once as make a file that is not small, each time in a commit of its own: its log
    entry says of which files its own are made.
    """
    for paths in _bundles(_small_files(open_table(uri), month)):
        commit(uri, pa.schema([]), partial(_together, uri, paths, month))


def _bundles(small: list[dict[str, Any]]) -> Iterator[list[str]]:
    """The paths of files to be read at once."""
    held, size = list[str](), 0
    for one in small:
        held.append(one["path"])
        size += one["size_bytes"]
        if size > BUNDLE_BYTES:
            yield held
            held, size = [], 0
    yield held


def _together(uri: str, paths: list[str], month: str | None, table: DeltaTable) -> Change | None:
    files = {one.path: one for one in dataset_of(uri, table).get_fragments()}
    if len(paths) < 2 or not files.keys() >= set(paths):  # another process was at it
        return None
    schema = pa.schema(table.schema().to_arrow())
    rows = [fitted(in_utc(files[path].to_table(schema=schema)), table) for path in paths]
    return Change(rows=[pa.concat_tables(rows)], gone=paths, month=month, is_compaction=True)


def _entries(uri: str, table: DeltaTable) -> int:
    """How many log entries a reader goes through."""
    if is_remote(uri):
        return 0  # Delta's own checkpoints suffice there
    with os.scandir(Path(uri) / LOG) as found:
        sums = [one.name for one in found if ".checkpoint" in one.name]
    newest = max(sums, default="")
    return table.version() - (int(newest.partition(".")[0]) if newest else -1)


def checkpoint(uri: str) -> None:
    """Sum up the log, then let go of entries and files that nobody reads any more."""
    with writing(uri):
        table = DeltaTable(uri)
        table.create_checkpoint()
        if not is_remote(uri):
            log = Path(uri) / LOG
            sync([*log.glob(f"{table.version():020}.checkpoint*"), log / CHECKPOINT])
            forget_entries(uri, table.version())
        else:
            table.cleanup_metadata()
        if _vacuum(table, is_dry=True):
            before = table.version()
            _vacuum(table, is_dry=False)
            for version in range(before + 1, DeltaTable(uri).version() + 1):
                sync_entry(uri, version)


def _vacuum(table: DeltaTable, *, is_dry: bool) -> list[str]:
    """Delete what left the table long ago, and what no entry ever named; returns the files."""
    return table.vacuum(
        retention_hours=KEPT_HOURS,
        dry_run=is_dry,
        enforce_retention_duration=False,
        full=True,
        post_commithook_properties=NO_HOOKS,
    )
