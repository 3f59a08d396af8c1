"""What came into a table, and went, between two versions: read from its log, not from its rows."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.disk.durability import LOG, is_remote
from pipeline.lake.rewriting import in_utc


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Files of rows that came in, as the log tells of them, and the paths of those that went."""

    added: Sequence[dict[str, Any]]
    removed: Sequence[str]


def changes_of(uri: str, *, after: int, until: int) -> Changes | None:
    """What the versions after one, up to another, changed; files put together change nothing.

    None where the log does not go back so far, or lies in an object store.
    """
    if is_remote(uri):
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


def _least(action: dict[str, Any], column: str) -> datetime:
    told = json.loads(action.get("stats") or "{}").get("minValues", {}).get(column)
    return datetime.fromisoformat(told) if told else datetime.min.replace(tzinfo=UTC)


def _rows(uri: str, paths: Sequence[str], column: str, before: datetime) -> pa.Table:
    files = [_read(uri, path).filter(pc.field(column) < before) for path in paths]
    return pa.concat_tables(files, promote_options="default") if files else pa.table({})


def _read(uri: str, path: str) -> pa.Table:
    return in_utc(pq.read_table(Path(uri) / path, page_checksum_verification=True))


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
