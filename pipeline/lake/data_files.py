"""The files of a table: one a month of its time column if they are large, named by their content.

A name ends with the digest of the content, so that a flipped bit is found by whoever looks.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs as pa_fs
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.fs import DeltaStorageHandler
from deltalake.transaction import AddAction

from pipeline.disk.durability import COMPACTED, DIGEST_BYTES, is_remote, sync

SUFFIX = ".parquet"
# of texts that are mostly different a dictionary costs more than it spares
DICTIONARY_BYTES = 20_000
ROUNDED = timedelta(milliseconds=1)  # of moments the log of others has milliseconds only
MIN_SPLIT = 100_000  # fewer rows are one file until compaction: months of theirs would be crumbs


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """A file that is not written yet: its path in the table, its bytes and what the log says."""

    path: str
    content: pa.Buffer
    stats: str

    def action(self, *, is_new: bool) -> AddAction:
        """What the log says of it; `is_new` where its rows were not in the table before."""
        now = int(time.time() * 1000)
        return AddAction(self.path, self.content.size, {}, now, is_new, self.stats)


def data_files(rows: pa.Table, *, month: str | None, is_compacted: bool) -> Iterator[DataFile]:
    """The rows as files, one a month of the column `month`; each keeps their order.

    A few new rows are one file beside the months, until compaction puts them there.
    """
    is_small = rows.num_rows < MIN_SPLIT and not is_compacted
    for name, part in by_month(rows, None if is_small else month):
        if part.num_rows:
            yield _data_file(part, name, is_compacted)


def by_month(rows: pa.Table, month: str | None) -> Iterator[tuple[str, pa.Table]]:
    """The rows of each month, in order, by the folder that is theirs; without a month all rows."""
    if month is None or month not in rows.column_names:
        yield "", rows
        return
    months = pc.floor_temporal(rows[month].cast(pa.timestamp("us")), unit="month")
    found = pc.unique(months).sort()
    for one in found:
        part = rows if len(found) == 1 else rows.filter(pc.equal(months, one))
        yield f"{one.as_py():%Y-%m}/", part


def _data_file(rows: pa.Table, folder: str, is_compacted: bool) -> DataFile:
    sink, noted = pa.BufferOutputStream(), list[pq.FileMetaData]()
    pq.write_table(
        rows,
        sink,
        write_page_checksum=True,
        dictionary_pagesize_limit=DICTIONARY_BYTES,
        metadata_collector=noted,
    )
    content = sink.getvalue()
    digest = blake2b(content, digest_size=DIGEST_BYTES).hexdigest()
    kind = COMPACTED if is_compacted else "part"
    path = f"{folder}{kind}-{uuid4().hex}-{digest}{SUFFIX}"
    footer = pq.read_metadata(pa.BufferReader(content))
    return DataFile(path=path, content=content, stats=json.dumps(_stats(footer)))


def _stats(footer: pq.FileMetaData) -> dict[str, Any]:
    """Counts, and of numbers and moments the bounds, as Delta's log wants them."""
    least, most, nulls = dict[str, Any](), dict[str, Any](), dict[str, int]()
    for place, name in enumerate(footer.schema.names):
        groups = [footer.row_group(group).column(place) for group in range(footer.num_row_groups)]
        known = [one.statistics for one in groups if one.statistics is not None]
        if len(known) == len(groups):
            nulls[name] = sum(one.null_count for one in known)
        bounded = [one for one in known if one.has_min_max and _is_exact(one.min)]
        if bounded:
            least[name] = _as_text(min(one.min for one in bounded))
            most[name] = _as_text(max(one.max for one in bounded))
    return {
        "numRecords": footer.num_rows,
        "minValues": least,
        "maxValues": most,
        "nullCount": nulls,
    }


def _is_exact(value: object) -> bool:
    """Whether bounds of this kind leave no row out: doubles have NaN, long texts are cut."""
    return isinstance(value, (int, datetime)) and not isinstance(value, bool)


def _as_text(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return value


def write_files(uri: str, files: list[DataFile]) -> None:
    """Write the files into the table's folder; when this returns they are on the disk.

    An object store keeps what it took, and has nothing to sync.
    """
    if is_remote(uri):
        store = _Writer(uri)
        for file in files:
            store.write(file.path, file.content)
        return
    paths = [Path(uri) / file.path for file in files]
    for path, file in zip(paths, files, strict=True):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(file.content)
    sync(paths, [Path(uri)])


def dataset_of(uri: str, table: DeltaTable) -> ds.FileSystemDataset:
    """The rows of a table, unread; a flipped bit of a page is an error and not another number."""
    schema = pa.schema(table.schema().to_arrow())
    bounded = [field.name for field in schema if _is_bounded(field.type)]
    actions = pa.table(table.get_add_actions()).to_pylist()
    return _dataset(uri, schema, {one["path"]: _bounds(one, bounded, schema) for one in actions})


def dataset_of_files(uri: str, table: DeltaTable, paths: Sequence[str]) -> ds.FileSystemDataset:
    """The rows of some files of a table, whether or not they are still in it, unread."""
    schema = pa.schema(table.schema().to_arrow())
    return _dataset(uri, schema, dict.fromkeys(paths, pc.scalar(True)))


def _dataset(
    uri: str, schema: pa.Schema, files: Mapping[str, pc.Expression]
) -> ds.FileSystemDataset:
    verified = ds.ParquetFragmentScanOptions(pre_buffer=True, page_checksum_verification=True)
    form = ds.ParquetFileFormat(default_fragment_scan_options=verified)
    store = store_of(uri)
    fragments = [
        form.make_fragment(path, filesystem=store, partition_expression=bounds)
        for path, bounds in files.items()
    ]
    return ds.FileSystemDataset(fragments, schema, form, store)


def outermost(table: DeltaTable, column: str) -> set[str]:
    """The files that may have the first or last moment in a column: all that the log leaves."""
    actions = pa.table(table.get_add_actions())
    paths = actions["path"].to_pylist()
    least, most = (_of(actions, bound, column) for bound in ("min", "max"))
    if not paths or None in (*least, *most):
        return set(paths)
    first, last = min(least) + ROUNDED, max(most) - ROUNDED
    return {
        path
        for path, low, high in zip(paths, least, most, strict=True)
        if low <= first or high >= last
    }


def _of(actions: pa.Table, bound: str, column: str) -> list[Any]:
    """A column's bound in each file; None where the log has none."""
    kind = actions.schema.field(bound).type
    if kind.get_field_index(column) < 0 or not pa.types.is_timestamp(kind.field(column).type):
        return [None] * actions.num_rows
    return list(pc.struct_field(actions[bound], column).to_pylist())


def _is_bounded(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_int64(kind))


def _bounds(action: dict[str, Any], bounded: list[str], schema: pa.Schema) -> pc.Expression:
    """What is true of all rows of a file: by it a reader leaves the file alone."""
    found = pc.scalar(True)
    for name in bounded:
        least, most = (action[bound].get(name) for bound in ("min", "max"))
        if least is not None and most is not None and action["null_count"].get(name) == 0:
            kind = schema.field(name).type
            last = most + ROUNDED if pa.types.is_timestamp(kind) else most
            within = pc.field(name) <= pa.scalar(last, kind)
            found = found & (pc.field(name) >= pa.scalar(least, kind)) & within
    return found


class _Writer(DeltaStorageHandler):
    """Writes whole files to an object store; the stream it opens refuses Arrow's buffers."""

    def write(self, path: str, content: pa.Buffer) -> None:
        """Write a file."""
        stream: Any = self._handler.open_output_stream(path, None)
        stream.write(content.to_pybytes())
        stream.close()


def store_of(uri: str) -> pa_fs.FileSystem:
    """Where a table lies, to open its files by their paths in it."""
    if is_remote(uri):
        return pa_fs.PyFileSystem(DeltaStorageHandler(uri))
    return pa_fs.SubTreeFileSystem(uri, pa_fs.LocalFileSystem())
