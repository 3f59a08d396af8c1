"""The lake: Delta tables, appended once and read as of a version.

Each portfolio has its own folder of tables: transactions, quarantine, labels, scores.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError

from features.engines.protocol import Source
from pipeline.failures import BusyError
from pipeline.lake.statistics import count_rows
from pipeline.lake.turns import turn

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

LOCKS = ".locks"  # in the lake's folder, while somebody writes


class LakeBusyError(BusyError):
    """Somebody else wrote to the table in the meantime.

    Nothing was written, and the work can be done again.
    """


@dataclass(frozen=True)
class Lake:
    """The tables of one portfolio under a folder or an object-store URL."""

    url: str
    portfolio: str

    def uri(self, table: TableName) -> str:
        """Where a table lies."""
        return f"{self.url.rstrip('/')}/{self.portfolio}/{table}"

    def exists(self, table: TableName) -> bool:
        """Whether anything was ever written to the table."""
        return DeltaTable.is_deltatable(self.uri(table))

    def version(self, table: TableName) -> int:
        """The table's version; -1 when there is none."""
        return DeltaTable(self.uri(table)).version() if self.exists(table) else -1

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
        dataset = DeltaTable(self.uri(table), version=version).to_pyarrow_dataset()
        return in_utc(
            dataset.to_table(columns=list(columns) if columns is not None else None, filter=where)
        )

    def dataset(self, table: TableName) -> ds.Dataset | None:
        """The table's rows, unread; None where there is no such table."""
        return DeltaTable(self.uri(table)).to_pyarrow_dataset() if self.exists(table) else None

    def bounds(
        self, table: TableName, column: str, *, version: int | None = None
    ) -> tuple[Any, Any] | None:
        """The least and the greatest value of a column without nulls; None where there is no row.

        They stand in the footers of the files, to the microsecond: no row is read.
        """
        if not self.exists(table):
            return None
        files = DeltaTable(self.uri(table), version=version).to_pyarrow_dataset().get_fragments()
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
        files = DeltaTable(self.uri(table), version=version).to_pyarrow_dataset().get_fragments()
        groups = [
            (group.statistics or {}).get(column) for file in files for group in file.row_groups
        ]
        found = [one for one in groups if one and one.get("min") is not None]
        if not found:
            return None
        return min(one["min"] for one in found), max(one["max"] for one in found)

    def columns(self, table: TableName) -> list[str]:
        """The names of the table's columns."""
        return [field.name for field in DeltaTable(self.uri(table)).schema().fields]

    def source(self, table: TableName, *, version: int | None = None) -> Source:
        """The table's rows (as of a version) for `features.build`, unread.

        Local files, or a data set in an object store.
        """
        stored = DeltaTable(self.uri(table), version=version)
        return stored.to_pyarrow_dataset() if self._is_remote() else stored.file_uris()

    def written(self, table: TableName, writer: str) -> int:
        """The number that the writer's last append carried; -1 when it never wrote."""
        return _last_number(DeltaTable(self.uri(table)), writer) if self.exists(table) else -1

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
        if self._is_remote():
            yield
            return
        lock = Path(self.url) / LOCKS / f"{self.portfolio}.lock"
        with turn(lock, what=f"portfolio {self.portfolio}"):
            yield

    def append(self, table: TableName, rows: pa.Table, *, writer: str, number: int) -> None:
        """Append the rows in one commit with the writer's number, which is greater than its last.

        Of two processes that append with the same writer and number one fails with LakeBusyError,
        so what was checked against the table since the number was taken still holds after the
        append.
        """
        if not self._is_remote():
            Path(self.uri(table)).parent.mkdir(parents=True, exist_ok=True)
        rows = in_utc(rows)
        try:
            if not self.exists(table):
                DeltaTable.create(self.uri(table), rows.schema, mode="ignore")
            stored = DeltaTable(self.uri(table))
            if _last_number(stored, writer) >= number:
                raise self._busy(table)
            # Written to the version just read and never retried on a newer one, where the number
            # may be taken.
            carried = CommitProperties(
                app_transactions=[Transaction(writer, number)], max_commit_retries=0
            )
            write_deltalake(
                stored, rows, mode="append", schema_mode="merge", commit_properties=carried
            )
        except CommitFailedError as error:
            raise self._busy(table) from error

    def replace(
        self, table: TableName, rows: pa.Table, *, key: str, writer: str, number: int
    ) -> None:
        """Put each row in the place of the one with its key, in one commit with the number.

        A column that the table has not is added to it. Raises LakeBusyError as `append` does.
        """
        try:
            stored = DeltaTable(self.uri(table))
            if _last_number(stored, writer) >= number:
                raise self._busy(table)
            carried = CommitProperties(
                app_transactions=[Transaction(writer, number)], max_commit_retries=0
            )
            merge = stored.merge(
                in_utc(rows),
                f"stored.{key} = new.{key}",
                source_alias="new",
                target_alias="stored",
                merge_schema=True,
                commit_properties=carried,
            )
            merge.when_matched_update_all().execute()
        except CommitFailedError as error:
            raise self._busy(table) from error

    def remove(self, table: TableName, column: str, values: pa.Array) -> None:
        """Remove the rows whose column has one of the values.

        Raises LakeBusyError when another process is in the way.
        """
        try:
            merge = DeltaTable(self.uri(table)).merge(
                pa.table({column: values.unique()}),
                f"stored.{column} = gone.{column}",
                source_alias="gone",
                target_alias="stored",
            )
            merge.when_matched_delete().execute()
        except CommitFailedError as error:
            raise self._busy(table) from error

    def _is_remote(self) -> bool:
        return self.url.startswith(("s3:", "gs:", "az:", "abfss:", "http"))

    def _busy(self, table: TableName) -> LakeBusyError:
        changed = f"{self.uri(table)} was written to by another process at the same time"
        return LakeBusyError(f"{changed}; run the command again")


def _last_number(table: DeltaTable, writer: str) -> int:
    found = table.transaction_version(writer)
    return -1 if found is None else found


def in_utc(table: pa.Table) -> pa.Table:
    """Give time columns their zone and text its plain type back, however Delta stored them."""
    return table.cast(pa.schema([(field.name, _plain(field.type)) for field in table.schema]))


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", tz="UTC")
    is_text = pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return pa.string() if is_text else kind
