"""What changes in a table: rows that are written anew, and what came or went between versions.

The files that have changed rows are written anew, the others stay. What came is read from the log.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import DeltaTable

from pipeline.disk.durability import LOG
from pipeline.lake.commits import Change
from pipeline.lake.data_files import dataset_of, dataset_of_files, store_of
from pipeline.lake.log import open_table


def rewritten(
    uri: str,
    stored: DeltaTable,
    key: str,
    values: pa.Array,
    change: Callable[[pa.Table], pa.Table],
    *,
    month: str | None,
    transaction: tuple[str, int] | None = None,
) -> Change:
    """The change of the files in which the column `key` has one of the values."""
    dataset = dataset_of(uri, stored)
    found = [one for one in dataset.get_fragments() if _has(one, dataset.schema, key, values)]
    rows = (fitted(change(in_utc(one.to_table(schema=dataset.schema))), stored) for one in found)
    return Change(rows=rows, gone=[one.path for one in found], month=month, transaction=transaction)


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Files of rows that came in, as the log tells of them, and the paths of those that went."""

    added: Sequence[dict[str, Any]]
    removed: Sequence[str]


def mark_of(uri: str, version: int) -> int:
    """What a version's log entry says, as a number: by it the version is known again.

    A table that was repaired or put back may have another version of that number. -1 where the
    entry is gone.
    """
    try:
        entry = _entry_text(uri, version)
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

    None where the log does not go back so far.
    """
    if until < after:
        return None
    added, removed = list[dict[str, Any]](), list[str]()
    for version in range(after + 1, until + 1):
        try:
            actions = list(_actions(_entry_text(uri, version)))
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
    where = pc.field(column) < before
    old = _read(uri, changes.removed, where)
    new = _read(uri, [action["path"] for action in changes.added], where)
    return old is not None and new is not None and _are_same(old, new)


def rows_added(uri: str, *, after: int, until: int) -> pa.Table | None:
    """The rows that came in; None where this cannot be told, or where others went."""
    names = files_added(uri, after=after, until=until)
    return None if names is None else _read(uri, names)


def replaced(old: pa.Table, new: pa.Table, key: str) -> pa.Table:
    """The old rows, those that have the key of a new one with its values; the order stays.

    >>> old = pa.table({"id": ["a", "b"], "amount": [1, 2]})
    >>> replaced(old, pa.table({"id": ["b"], "amount": [3]}), "id").to_pydict()
    {'id': ['a', 'b'], 'amount': [1, 3]}
    """
    place = pc.index_in(old[key], value_set=new[key].combine_chunks())
    in_new = pc.add(place.cast(pa.int64()), old.num_rows)
    taken = pc.coalesce(in_new, pa.array(np.arange(old.num_rows)))
    for field in new.schema:
        if field.name not in old.column_names:
            old = old.append_column(field, pa.nulls(old.num_rows, field.type))
        at = old.schema.get_field_index(field.name)
        both = pa.chunked_array([*old.column(at).cast(field.type).chunks, *new[field.name].chunks])
        old = old.set_column(at, field, both.take(taken))
    return old


def fitted(rows: pa.Table, stored: DeltaTable) -> pa.Table:
    """The rows with the types that the table has; a column that it lacks keeps its own."""
    known = in_utc_schema(pa.schema(stored.schema().to_arrow()))
    kinds = {field.name: field for field in known if field.type != pa.null()}
    fields = [kinds.get(field.name, field) for field in rows.schema]
    return rows.cast(pa.schema([field.with_nullable(True) for field in fields]))


def in_utc_schema(schema: pa.Schema) -> pa.Schema:
    """The fields with plain types."""
    return pa.schema([field.with_type(_plain(field.type)) for field in schema])


def in_utc(table: pa.Table) -> pa.Table:
    """Give time columns their zone and text its plain type back, however Delta stored them."""
    return table.cast(in_utc_schema(table.schema))


def _has(file: ds.Fragment, schema: pa.Schema, key: str, values: pa.Array) -> bool:
    among = pc.field(key).isin(values)
    return bool(file.to_table(schema=schema, columns=[key], filter=among).num_rows)


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", tz="UTC")
    is_text = pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return pa.string() if is_text else kind


def _entry_text(uri: str, version: int) -> bytes:
    with store_of(uri).open_input_stream(f"{LOG}/{version:020}.json") as entry:
        read: bytes = entry.read()
    return read


def _actions(entry: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    for line in entry.decode().splitlines():
        yield from json.loads(line).items()


def _least(action: dict[str, Any], column: str) -> datetime:
    told = json.loads(action.get("stats") or "{}").get("minValues", {}).get(column)
    return datetime.fromisoformat(told) if told else datetime.min.replace(tzinfo=UTC)


def _read(uri: str, paths: Sequence[str], where: pc.Expression | None = None) -> pa.Table | None:
    """The rows of some files; None where one is gone with what was vacuumed."""
    if not paths:
        return pa.table({})
    try:
        return in_utc(dataset_of_files(uri, open_table(uri), paths).to_table(filter=where))
    except FileNotFoundError:
        return None


def _are_same(old: pa.Table, new: pa.Table) -> bool:
    """Whether two tables have the same rows, each as often."""
    if not old.num_rows and not new.num_rows:
        return True
    if old.num_rows != new.num_rows:
        return False
    by = [(name, "ascending") for name in ("transaction_id", *sorted(old.column_names))]
    return bool(old.sort_by(by).equals(new.sort_by(by)))
