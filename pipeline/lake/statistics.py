"""What a table holds in numbers, without pyarrow: from Delta's log, else by Delta's own engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from deltalake import QueryBuilder

from pipeline.disk.durability import COMPACTED
from pipeline.lake.log import is_table, open_table


def count_rows(uri: str) -> int:
    """How many rows a table has; 0 where there is none."""
    if not is_table(uri):
        return 0
    counts = open_table(uri).get_add_actions(flatten=True).column("num_records").to_pylist()
    return int(_ask(uri, "count(*)")) if None in counts else sum(counts)


def count_states(uri: str, states: Sequence[str]) -> int:
    """How many rows have one of the states; 0 where there is no table."""
    if not is_table(uri):
        return 0
    named = ", ".join(f"'{state}'" for state in states)
    return int(_ask(uri, "count(*)", where=f"state IN ({named})"))


def count_since(uri: str, column: str, moment: datetime) -> int:
    """How many rows have a moment in the column that is not earlier; 0 where there is no table."""
    if not is_table(uri):
        return 0
    bound = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return int(_ask(uri, "count(*)", where=f"{column} >= TIMESTAMP '{bound}'"))


def count_present(uri: str, column: str) -> int:
    """How many rows have a value in the column; 0 where there is no table, or no such column."""
    if not is_table(uri):
        return 0
    if column not in [field.name for field in open_table(uri).schema().fields]:
        return 0
    return int(_ask(uri, f"count({column})"))


def latest(uri: str, column: str) -> datetime | None:
    """The latest moment in a column; None where there is no row."""
    return _ask(uri, f"max({column})") if count_rows(uri) else None


def earliest(uri: str, column: str) -> datetime | None:
    """The earliest moment in a column; None where there is no row."""
    return _ask(uri, f"min({column})") if count_rows(uri) else None


def values_at(uri: str, column: str, moment_column: str, moment: datetime) -> list[Any]:
    """A column's values in the rows of a moment; none where there is no table."""
    if not is_table(uri):
        return []
    bound = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    at = f"{moment_column} = TIMESTAMP '{bound}'"
    query = f"SELECT {column} AS found FROM rows WHERE {at}"  # noqa: S608 - no value of a user's
    asked = QueryBuilder().register("rows", open_table(uri))
    return list(asked.execute(query).read_all().column("found").to_pylist())


def rows_of(uri: str, columns: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of a small table; a column that it has not is null. No table, no rows."""
    if not is_table(uri):
        return []
    table = open_table(uri)
    stored = {field.name for field in table.schema().fields}
    asked = [name if name in stored else f"NULL AS {name}" for name in columns]
    query = f"SELECT {', '.join(asked)} FROM rows"  # noqa: S608 - no value of a user's
    found = QueryBuilder().register("rows", table).execute(query).read_all()
    values = [found.column(name).to_pylist() for name in columns]
    return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]


def _ask(uri: str, what: str, *, where: str = "true") -> Any:
    """Ask Delta's engine, which reads the columns asked for where statistics do not answer."""
    asked = QueryBuilder().register("rows", open_table(uri))
    query = f"SELECT {what} AS answer FROM rows WHERE {where}"  # noqa: S608 - no value of a user's
    return asked.execute(query).read_all().column("answer")[0].as_py()


@dataclass(frozen=True, kw_only=True)
class Size:
    """Files and bytes of a table, and when its small files were last put together."""

    files: int
    bytes: int
    compacted_at: datetime | None


def size_of(uri: str) -> Size:
    """How large a table is, by its log; nothing where there is none."""
    if not is_table(uri):
        return Size(files=0, bytes=0, compacted_at=None)
    actions = open_table(uri).get_add_actions()
    paths, sizes, times = (
        actions.column(name).to_pylist() for name in ("path", "size_bytes", "modification_time")
    )
    compacted = [
        time
        for path, time in zip(paths, times, strict=True)
        if f"/{path}".rpartition("/")[2].startswith(f"{COMPACTED}-")
    ]
    last = datetime.fromtimestamp(max(compacted) / 1000, UTC) if compacted else None
    return Size(files=len(paths), bytes=sum(sizes), compacted_at=last)
