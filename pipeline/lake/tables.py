"""The lake: Delta tables, appended once and read as of a version.

Each portfolio has its own folder of tables: transactions, quarantine, labels, scores.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import DeltaTable

from features.engines.protocol import Source
from pipeline.disk.durability import is_remote
from pipeline.disk.turns import turn
from pipeline.lake.changes import (
    files_added,
    fitted,
    in_utc,
    in_utc_schema,
    mark_of,
    replaced,
    rewritten,
)
from pipeline.lake.commits import Change, busy, commit, paths_of
from pipeline.lake.data_files import dataset_of, dataset_of_files, outermost
from pipeline.lake.log import is_table, open_table
from pipeline.lake.statistics import count_rows

TableName = Literal[
    "transactions",
    "versions",
    "quarantine",
    "labels",
    "waiting_labels",
    "scores",
    "deliveries",
    "label_deliveries",
]
# the time column by whose month a table's files lie apart
MONTH_OF: dict[TableName, str] = {
    "transactions": "as_of",
    "versions": "as_of",
    "labels": "known_at",
    "scores": "as_of",
}


@dataclass(frozen=True)
class Lake:
    """The tables of one portfolio under a folder or an object-store URL."""

    url: str
    portfolio: str

    @property
    def folder(self) -> str:
        """Where the portfolio's tables lie."""
        return f"{self.url.rstrip('/')}/{self.portfolio}"

    def uri(self, table: TableName) -> str:
        """Where a table lies."""
        return f"{self.folder}/{table}"

    def exists(self, table: TableName) -> bool:
        """Whether anything was ever written to the table."""
        return is_table(self.uri(table))

    def version(self, table: TableName) -> int:
        """The table's version; -1 when there is none."""
        return open_table(self.uri(table)).version() if self.exists(table) else -1

    def count(self, table: TableName) -> int:
        """How many rows the table has."""
        return count_rows(self.uri(table))

    def read(
        self,
        table: TableName,
        *,
        columns: Sequence[str] | None = None,
        where: pc.Expression | None = None,
        version: int | None = None,
    ) -> pa.Table | None:
        """Return the table's rows (as of a version), or None when there is no such table."""
        if not self.exists(table):
            return None
        dataset = self._files(table, version)
        return in_utc(
            dataset.to_table(columns=list(columns) if columns is not None else None, filter=where)
        )

    def dataset(self, table: TableName) -> ds.Dataset | None:
        """The table's rows, unread; None where there is no such table."""
        return self._files(table) if self.exists(table) else None

    def bounds(
        self, table: TableName, column: str, *, version: int | None = None
    ) -> tuple[Any, Any] | None:
        """The least and the greatest value of a column without nulls; None where there is no row.

        They stand in the footers of the files, to the microsecond: no row is read.
        """
        if not self.exists(table):
            return None
        names = outermost(self._stored(table, version), column)
        files = [one for one in self._files(table, version).get_fragments() if one.path in names]
        found = [group.statistics[column] for file in files for group in file.row_groups]
        if not found:
            return None
        return min(one["min"] for one in found), max(one["max"] for one in found)

    def extremes(
        self, table: TableName, column: str, *, version: int | None = None
    ) -> tuple[str, str] | None:
        """The least and the greatest value of a column, which may be null or absent in places.

        None where there is no value. As of `bounds`, no row is read.
        """
        files = self._files(table, version).get_fragments()
        groups = [
            (group.statistics or {}).get(column) for file in files for group in file.row_groups
        ]
        found = [one for one in groups if one and one.get("min") is not None]
        if not found:
            return None
        return min(one["min"] for one in found), max(one["max"] for one in found)

    def columns(self, table: TableName) -> list[str]:
        """The names of the table's columns."""
        return [field.name for field in open_table(self.uri(table)).schema().fields]

    def source(self, table: TableName, *, version: int | None = None) -> Source:
        """The table's rows (as of a version) for `features.build`, unread.

        Local files, or a data set in an object store.
        """
        if is_remote(self.url):
            return self._files(table, version)
        folder = Path(self.uri(table))  # Delta's own URIs escape what a path may have
        return [str(folder / name) for name in paths_of(self._stored(table, version))]

    def written(self, table: TableName, writer: str) -> int:
        """The number that the writer's last append carried; -1 when it never wrote."""
        return _last_number(open_table(self.uri(table)), writer) if self.exists(table) else -1

    def next_number(self, table: TableName, writer: str) -> int:
        """The number for the writer's next append: taken before the table is read.

        Not the table's version: a table that was just created has one, and nothing in it.
        """
        return self.written(table, writer) + 1

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Be the only one on this machine that writes to the portfolio; the others wait.

        In an object store nobody waits: of two that write at once one fails with LakeBusyError.
        Raises BusyError where the wait was in vain.
        """
        if is_remote(self.url):
            yield
            return
        with turn(Path(self.folder), what=f"portfolio {self.portfolio}"):
            yield

    def added_since(
        self,
        table: TableName,
        version: int,
        *,
        until: int,
        mark: int,
        with_changed: bool = False,
    ) -> ds.FileSystemDataset | None:
        """The rows that came in the versions after one of that `mark`, up to another, unread.

        They are read from the files they came in, which stay for two days when they were put
        together with others. None where that is not to be told: see `files_added`.
        """
        uri = self.uri(table)
        if version < 0 or is_remote(uri):
            return None
        names = files_added(uri, after=version, until=until, mark=mark, with_changed=with_changed)
        if names is None or not all((Path(uri) / name).exists() for name in names):
            return None
        return dataset_of_files(uri, self._stored(table), names)

    def mark(self, table: TableName, version: int) -> int:
        """What a version says, as a number; -1 where that is not known."""
        return mark_of(self.uri(table), version)

    def append(
        self,
        table: TableName,
        rows: pa.Table,
        *,
        writer: str,
        number: int,
        marks: Mapping[str, int] | None = None,
    ) -> None:
        """Append the rows in one commit with the writer's number, which is greater than its last.

        Of two processes that append with the same writer and number one fails with LakeBusyError,
        so what was checked against the table since the number was taken still holds after the
        append. When this returns, the rows are on the disk. `marks` are kept in the same commit:
        `written` tells them by their name.
        """
        self.append_parts(
            table, [rows], schema=rows.schema, writer=writer, number=number, marks=marks
        )

    def append_parts(
        self,
        table: TableName,
        parts: Iterable[pa.Table],
        *,
        schema: pa.Schema,
        writer: str,
        number: int,
        marks: Mapping[str, int] | None = None,
    ) -> None:
        """Append tables of the schema in one commit, as `append` does, each of them as it comes."""

        def add(stored: DeltaTable) -> Change:
            self._check_number(stored, writer, number)
            rows = (fitted(in_utc(part), stored) for part in parts)
            month, kept = MONTH_OF.get(table), tuple((marks or {}).items())
            return Change(rows=rows, month=month, transaction=(writer, number), marks=kept)

        commit(self.uri(table), in_utc_schema(schema), add)

    def replace(
        self, table: TableName, rows: pa.Table, *, key: str, writer: str, number: int
    ) -> None:
        """Put each row in the place of the one with its key, in one commit with the number.

        A column that the table has not is added to it. Raises LakeBusyError as `append` does.
        """
        rows = in_utc(rows)

        def exchange(stored: DeltaTable) -> Change:
            self._check_number(stored, writer, number)
            return rewritten(
                self.uri(table),
                stored,
                key,
                rows[key].combine_chunks(),
                lambda old: replaced(old, rows, key),
                month=MONTH_OF.get(table),
                transaction=(writer, number),
            )

        commit(self.uri(table), rows.schema, exchange)

    def remove(self, table: TableName, column: str, values: pa.Array) -> None:
        """Remove the rows whose column has one of the values.

        Raises LakeBusyError when another process is in the way.
        """

        def drop(stored: DeltaTable) -> Change | None:
            change = rewritten(
                self.uri(table),
                stored,
                column,
                values,
                lambda old: old.filter(pc.invert(pc.is_in(old[column], value_set=values))),
                month=MONTH_OF.get(table),
            )
            return change if change.gone else None

        commit(self.uri(table), pa.schema([]), drop)

    def _stored(self, table: TableName, version: int | None = None) -> DeltaTable:
        return open_table(self.uri(table), version)

    def _files(self, table: TableName, version: int | None = None) -> ds.FileSystemDataset:
        return dataset_of(self.uri(table), self._stored(table, version))

    def _check_number(self, stored: DeltaTable, writer: str, number: int) -> None:
        if _last_number(stored, writer) >= number:
            raise busy(stored.table_uri)


def _last_number(table: DeltaTable, writer: str) -> int:
    found = table.transaction_version(writer)
    return -1 if found is None else found
