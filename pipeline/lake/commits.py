"""A commit: files that come and files that go, in one step that a power cut does not halve.

The only place that writes tables. One writer at a time has a table: it notes which files it is
about to write, writes and syncs them, commits them to Delta's log, and syncs the entry before it
returns. What a killed writer left is removed by the next one.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TextIO

import pyarrow as pa
from deltalake import (
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    Schema,
    Transaction,
)
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction

from pipeline.disk.durability import LINES, LOCK, LOG, is_remote, sync
from pipeline.disk.turns import wait_for
from pipeline.failures import BrokenError, BusyError
from pipeline.lake.data_files import DataFile, data_files, write_files
from pipeline.lake.log import is_table, open_table

WAIT_SECONDS = 60.0
RETENTION: dict[str, str | None] = {
    "delta.logRetentionDuration": "interval 2 days",
    "delta.deletedFileRetentionDuration": "interval 2 days",
}
# checkpoints are made by `pipeline.lake.compaction`, which syncs them
NO_HOOKS = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)


class LakeBusyError(BusyError):
    """Somebody else wrote to the table in the meantime.

    Nothing was written, and the work can be done again.
    """


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a commit does: rows that come, a file a month of a column, and files that go.

    The `transaction` is the writer's name and number; `marks` are further names and numbers that
    stand with it. A change that `is_compaction` has the rows that were there before.
    """

    rows: Iterable[pa.Table] = ()
    gone: Sequence[str] = ()
    month: str | None = None
    transaction: tuple[str, int] | None = None
    marks: Sequence[tuple[str, int]] = ()
    is_compaction: bool = False


def commit(uri: str, schema: pa.Schema, change: Callable[[DeltaTable], Change | None]) -> None:
    """Commit the change that `change` makes of the table as it stands; made where there is none.

    Columns of the schema that the table lacks are added to it. When this returns, all of it is on
    the disk. Raises LakeBusyError where somebody else committed,
    BrokenError or OSError where storage fails.
    """
    with writing(uri) as note:
        try:
            table = _opened(uri, schema)
            wanted = change(table)
            if wanted is not None:
                _commit(uri, _with_columns(uri, table, schema), wanted, note)
        except CommitFailedError as error:
            raise _not_committed(uri, table, error) from error


@contextmanager
def writing(uri: str) -> Iterator[TextIO | None]:
    """Have a table to oneself, after whatever a killed writer left of it is removed.

    Raises LakeBusyError where another process has it for longer than WAIT_SECONDS.
    """
    if is_remote(uri):
        yield None
        return
    folder = Path(uri)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+", encoding="utf-8") as note:
        try:
            wait_for(note, what=uri, wait_seconds=WAIT_SECONDS)
        except BusyError as error:
            raise LakeBusyError(str(error)) from None
        remove_left(note, folder)
        try:
            yield note
        except BaseException:
            remove_left(note, folder)
            raise
        note.truncate(0)


def remove_left(note: TextIO, folder: Path) -> None:
    """Remove the files that a writer noted and did not come to commit."""
    note.seek(0)
    noted = note.read().splitlines()
    if noted:
        live = set(paths_of(DeltaTable(folder))) if is_table(str(folder)) else set()
        for name in set(noted) - live:
            (folder / name).unlink(missing_ok=True)
        for file in (folder / LOG).glob("*"):
            if "#" in file.name or file.suffix == ".tmp":  # Delta's own, on their way
                file.unlink()
    note.truncate(0)


def paths_of(table: DeltaTable) -> list[str]:
    """The paths of a table's files in its folder."""
    found: list[str] = pa.table(table.get_add_actions())["path"].to_pylist()
    return found


def _opened(uri: str, schema: pa.Schema) -> DeltaTable:
    if not is_table(uri):
        DeltaTable.create(uri, schema, mode="ignore", configuration=RETENTION)
        sync_entry(uri, 0)
    return open_table(uri)


def _with_columns(uri: str, table: DeltaTable, schema: pa.Schema) -> DeltaTable:
    known = {field.name for field in table.schema().fields}
    fresh = [field for field in schema if field.name not in known]
    if fresh:
        table = DeltaTable(uri, version=table.version())  # others read the opened one as it is
        fields = Schema.from_arrow(pa.schema(fresh)).fields
        table.alter.add_columns(list(fields), post_commithook_properties=NO_HOOKS)
        sync_entry(uri, table.version())
    return table


def _commit(uri: str, table: DeltaTable, change: Change, note: TextIO | None) -> None:
    added = [action for actions in _written(uri, change, note) for action in actions]
    removed = _removals(table, change)
    numbers = [*([change.transaction] if change.transaction else []), *change.marks]
    writers = [Transaction(*one) for one in numbers]
    lines = 1 + len(added) + len(removed) + len(writers)
    table.create_write_transaction(
        [*added, *removed],
        "append",
        table.schema(),
        commit_properties=CommitProperties(
            app_transactions=writers,
            max_commit_retries=0,  # on a newer version the number may be taken
            custom_metadata={LINES: str(lines)},
        ),
        post_commithook_properties=NO_HOOKS,
    )
    sync_entry(uri, table.version() + 1)  # the table stays as it was read


def _written(uri: str, change: Change, note: TextIO | None) -> Iterator[list[AddAction]]:
    """Write the change's rows; the next ones are read while those before them are written."""
    lock, cores = Lock(), os.cpu_count() or 1

    def write(rows: pa.Table) -> list[AddAction]:
        files = list(data_files(rows, month=change.month, is_compacted=change.is_compaction))
        with lock:
            _note(note, files)
        write_files(uri, files)
        return [file.action(is_new=not change.is_compaction) for file in files]

    with ThreadPoolExecutor(cores) as writers:
        begun = deque[Future[list[AddAction]]]()
        for rows in change.rows:
            begun.append(writers.submit(write, rows))
            if len(begun) > cores:  # so many are in memory
                yield begun.popleft().result()
        yield from (one.result() for one in begun)


def _note(note: TextIO | None, files: Sequence[DataFile]) -> None:
    """Say which files are about to be written, in case that they are all that comes of it."""
    if note is not None:
        note.writelines(f"{file.path}\n" for file in files)
        note.flush()


def _removals(table: DeltaTable, change: Change) -> list[RemoveAction]:
    if not change.gone:
        return []
    actions = pa.table(table.get_add_actions()).select(["path", "size_bytes"]).to_pylist()
    sizes = {one["path"]: one["size_bytes"] for one in actions}
    now, is_new = int(time.time() * 1000), not change.is_compaction
    return [RemoveAction(path, is_new, now, sizes[path], {}) for path in change.gone]


def sync_entry(uri: str, version: int) -> None:
    """Return when a log entry is on the disk; with the first one the folders above it are, too."""
    if is_remote(uri):
        return
    log = Path(uri) / LOG
    above = [log.parent, *log.parent.parents[:2]] if version == 0 else []
    sync([log / f"{version:020}.json"], above)


def _not_committed(uri: str, table: DeltaTable, error: CommitFailedError) -> Exception:
    if DeltaTable(uri).version() > table.version():
        return busy(uri)
    reason = " ".join(str(error).split())
    return BrokenError(
        f"{uri} cannot be written to ({reason}); free space or give permission, then run again"
    )


def busy(uri: str) -> LakeBusyError:
    """The error of a table that changed since it was looked at."""
    changed = f"{uri} was written to by another process at the same time"
    return LakeBusyError(f"{changed}; run the command again")
