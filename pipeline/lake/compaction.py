"""Small files made into few: months of small commits stay as quick to read as the first day's.

Done by the runs themselves once a table has many. Readers keep what they read: a file that left
the table stays for two days.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
from deltalake import DeltaTable

from pipeline.lake.checking import CHECKPOINT, require_whole
from pipeline.lake.commits import NO_HOOKS, Change, commit, sync_entry, writing
from pipeline.lake.data_files import dataset_of
from pipeline.lake.durability import LOCK, LOG, is_remote, sync
from pipeline.lake.rewriting import fitted, in_utc
from pipeline.lake.tables import MONTH_OF, Lake, TableName

SMALL_BYTES = 16_000_000
MAX_SMALL = 50  # files that compaction would save
MAX_ENTRIES = 20  # log entries since the last checkpoint: each is read by each reader
KEPT_HOURS = 48  # a file that left the table: no reader takes longer


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
        if DeltaTable.is_deltatable(uri):
            _maintain(uri, MONTH_OF.get(table))


def _maintain(uri: str, month: str | None) -> None:
    if not is_remote(uri) and _has_left(Path(uri) / LOCK):
        with writing(uri):
            pass
    table = DeltaTable(uri)
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
    """Put the small files of each month together; rows and their order stay as they are."""

    def together(table: DeltaTable) -> Change | None:
        small = [one["path"] for one in _small_files(table, month)]
        if len(small) < 2:
            return None
        rows = _rows_of(uri, table, small)
        return Change(rows=rows, gone=small, month=month, is_compaction=True)

    commit(uri, pa.schema([]), together)


def _rows_of(uri: str, table: DeltaTable, paths: list[str]) -> Iterator[pa.Table]:
    """The rows of the files, as many at once as make a file that is not small."""
    dataset = dataset_of(uri, table)
    files = {one.path: one for one in dataset.get_fragments()}
    held, size = list[pa.Table](), 0
    for path in paths:
        rows = fitted(in_utc(files[path].to_table(schema=dataset.schema)), table)
        held.append(rows)
        size += files[path].metadata.serialized_size + rows.nbytes
        if size > 8 * SMALL_BYTES:  # in memory it is larger than in its file
            yield pa.concat_tables(held)
            held, size = [], 0
    if held:
        yield pa.concat_tables(held)


def _entries(uri: str, table: DeltaTable) -> int:
    """How many log entries a reader goes through."""
    if is_remote(uri):
        return 0  # Delta's own checkpoints suffice there
    newest = max((Path(uri) / LOG).glob("*.checkpoint*.parquet"), default=None)
    return table.version() - (int(newest.name.partition(".")[0]) if newest else -1)


def checkpoint(uri: str) -> None:
    """Sum up the log, then let go of entries and files that nobody reads any more."""
    with writing(uri):
        table = DeltaTable(uri)
        table.create_checkpoint()
        if not is_remote(uri):
            log = Path(uri) / LOG
            sync([*log.glob(f"{table.version():020}.checkpoint*"), log / CHECKPOINT])
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
