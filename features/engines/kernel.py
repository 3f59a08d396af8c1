"""The kernel: windows by compiled loops over key lists, in one pass; row-level SQL by DuckDB.

What windows stand on is computed of all rows first, from the lowest depth up, and put into key
lists; then features are read a piece of rows at a time.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from features.declarations import names_in
from features.engines.arrays import Moments, values_of
from features.engines.duckdb import DuckDB
from features.engines.history import History
from features.engines.keys import Values, encoded, wide
from features.engines.label_lists import LateLabels, Ledger, Lines, ledger
from features.engines.program import Program, Wanted
from features.engines.segment import Segment, arrays_of, segment_of
from features.schema import SchemaError
from features.sql.labels import LINE, verdict_query
from features.sql.plan import Plan, ordered_needs
from features.sql.windows import known, named, select
from features.state.files import Arrays

BATCH = 50_000  # rows that are written, and read again, at a time


class Spool:
    """Rows in order, numbered from 1 on by their `row_id`, in Arrow files of a folder."""

    schema: pa.Schema

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[Path, list[int]] = {}  # the last row of each batch, behind that before

    @property
    def last(self) -> int:
        """The number of the last row; 0 where there is none."""
        return max((lasts[-1] for lasts in self._files.values()), default=0)

    def write(self, batches: pa.RecordBatchReader) -> None:
        """Write rows behind those that are there; raises ValueError where they are out of order."""
        file, lasts = self._folder / f"rows_{len(self._files)}.arrow", [self.last]
        self.schema = batches.schema
        with pa.ipc.new_file(file, self.schema) as written:
            for batch in batches:
                numbers = np.arange(lasts[-1] + 1, lasts[-1] + 1 + batch.num_rows)
                if not np.array_equal(batch["row_id"], numbers):
                    raise ValueError(f"rows behind {lasts[-1]} are not numbered in order")
                written.write_batch(batch)
                lasts.append(lasts[-1] + batch.num_rows)
        self._files[file] = lasts

    def dataset(self) -> ds.Dataset:
        """All rows, for SQL."""
        return ds.dataset([*map(str, self._files)], format="ipc")

    def read(self, columns: Sequence[str], first: int = 1, last: int | None = None) -> pa.Table:
        """Return columns of the rows from `first` to `last`, or to the end."""
        last, fields = last or self.last, [self.schema.get_field_index(name) for name in columns]
        found, skipped = list[pa.RecordBatch](), 0
        for file, lasts in self._files.items():
            wanted = [
                number
                for number, (before, end) in enumerate(pairwise(lasts))
                if before < last and end >= first
            ]
            if wanted:
                skipped = skipped if found else first - 1 - lasts[wanted[0]]
                options = pa.ipc.IpcReadOptions(included_fields=fields)
                with pa.OSFile(str(file)) as opened:
                    batches = pa.ipc.open_file(opened, options=options)
                    found += [batches.get_batch(number) for number in wanted]
        schema = pa.schema([self.schema.field(field) for field in sorted(fields)])
        rows = pa.Table.from_batches(found, schema)
        return rows.slice(skipped, max(0, last - first + 1)).select(columns)


class Kernel(DuckDB):
    """DuckDB in this process for rows; compiled loops for windows, label lists and look-ups."""

    few = -1  # no batch is so small that it is joined with its past
    piece = 200_000
    alone = 1_000_000  # rows of a single column that are read at a time

    def __init__(self, *, memory_limit: str = "6GB", spill_folder: Path | None = None) -> None:
        """Leave three quarters of the memory to the key lists."""
        size = re.fullmatch(r"([\d.]+) *([KMGT]i?B)", memory_limit)
        quarter = f"{float(size[1]) / 4:g}{size[2]}" if size else memory_limit
        super().__init__(memory_limit=quarter, spill_folder=spill_folder)

    def table(self, name: str, query: str, *, in_order: bool = True, more: bool = False) -> None:
        """Keep the rows that a query returns in order, or keep them behind those that are there."""
        if not more:
            self._rows = Spool(self._spilled)
        self._rows.write(self._connection.sql(query).to_arrow_reader(BATCH))
        self._connection.register(name, self._rows.dataset())

    def learn(self, plan: Plan, *, earlier: Sequence[Arrays] = (), keep: bool = False) -> None:
        """Make the key lists that a plan's features ask, over the table of its rows.

        These stand behind the rows whose segments were kept `earlier`; new labels may be on both.
        Raises StateError where the segments are not of this plan.
        """
        self._program = Program(plan)
        moments = values_of(self._rows.read(["as_of_us"])["as_of_us"])
        verdicts = ledger(self.fetch(verdict_query(plan.rows))) if self._program.judged else None
        segments: list[Segment] = []
        for arrays in earlier:
            first = sum(one.moments.size for one in segments)
            segments.append(segment_of(arrays, self._program, first=first))
        self._history = History(
            self._program,
            moments,
            verdicts,
            earlier=segments,
            late=self._late(segments) if self._program.judged else (),
            keep=keep,
        )
        for depth in self._program.depths:
            if wanted := self._program.wanted(depth):
                # what stands on windows is read at once, as these are found once then
                many = depth == 0 and moments.size > self.alone
                parts = wanted.apart() if many else [wanted]
                step = self.alone if many else self.piece
                self._history.take_in(parts, partial(self._everything, step=step))
        self._history.forget()

    def kept(self) -> Arrays:
        """What the rows after those that were learnt need of them, for `learn`."""
        own, program = self._history.own, self._program
        if program.judged:
            ids = self._rows.read(["transaction_id"])["transaction_id"]
            own = replace(own, ids=Values(wide(ids)), lines=self._lines())
        return arrays_of(own, program)

    def read(self, columns: Mapping[str, pa.DataType | None], *, first: int, last: int) -> pa.Table:
        """Return columns and features of the rows from `first` to `last`, in order.

        Each of its type here; of its own where none is given.
        """
        found = self._found({*columns}, first, last)
        table = self._facts(found, {name: name for name in columns})
        return pa.table({name: _typed(table[name], kind) for name, kind in columns.items()})

    def _late(self, segments: Sequence[Segment]) -> list[LateLabels]:
        """The labels on rows of each segment that came after it was kept."""
        if not segments:
            return []
        query = "SELECT transaction_id, known_us, CAST(is_fraud AS DOUBLE) AS is_fraud FROM labels"
        told = self.fetch(f"{query} WHERE {known(LINE)}")
        ids, since = encoded(told["transaction_id"]), values_of(told["known_us"])
        is_fraud, late = values_of(told["is_fraud"]) == 1, []
        for segment in segments:
            rows = segment.ids.find(ids)
            on = np.flatnonzero((rows >= 0) & (rows < segment.moments.size))
            on = on[np.argsort(rows[on], kind="stable")]
            new = Lines(rows=rows[on], known=since[on], is_fraud=is_fraud[on])
            late.append(
                LateLabels(
                    new,
                    segment.lines,
                    moments=segment.moments,
                    judged=segment.judged,
                    read=self._verdicts,
                )
            )
        return late

    def _lines(self) -> Lines:
        """The lines of the ledger on all rows."""
        columns = ["row_id", "known_us", "CAST(is_fraud AS DOUBLE) AS is_fraud"]
        rows = f"{self._program.plan.rows} JOIN labels USING (transaction_id)"
        told = self.fetch(f"{select(columns, rows)} WHERE {known(LINE)} ORDER BY row_id")
        return Lines(
            rows=(values_of(told["row_id"]) - 1).astype(np.int32),
            known=values_of(told["known_us"]),
            is_fraud=values_of(told["is_fraud"]) == 1,
        )

    def _verdicts(self, lines: Lines, moments: Moments) -> Ledger:
        """What lines say of rows of these moments."""
        numbers = np.arange(moments.size)
        rows = {"row_id": numbers + 1, "transaction_id": numbers, "as_of_us": moments}
        told = {"transaction_id": lines.rows, "known_us": lines.known, "is_fraud": lines.is_fraud}
        self._connection.register("late_rows", pa.table(rows))
        self._connection.register("late_lines", pa.table(told))
        found = ledger(self.fetch(verdict_query("late_rows", lines="late_lines")))
        self._connection.unregister("late_rows")
        self._connection.unregister("late_lines")
        return found

    def _everything(self, wanted: Wanted, *, step: int) -> Iterator[pa.Table]:
        """All rows, so many at a time, one piece at least, as a program wants them at a depth."""
        for first in range(1, max(self._rows.last, 1) + 1, step):
            found = self._found({*wanted.names}, first, first + step - 1)
            if first == 1:
                self._check_numbers(found, wanted)
            yield self._facts(found, wanted.columns(found.column_names))

    def _check_numbers(self, found: pa.Table, wanted: Wanted) -> None:
        """Raise SchemaError where a measure is text: it would be read as a number, or fail."""
        kinds = {f"kind_{place}": f"typeof({sql})" for place, sql in enumerate(wanted.measures)}
        if not kinds or not found.num_rows:
            return
        told = self._facts(found.slice(0, 1), kinds).to_pylist()[0]
        for sql, kind in zip(wanted.measures, told.values(), strict=True):
            if kind == "VARCHAR":
                raise SchemaError(
                    f"an aggregate runs over {sql!r}, which is text; the kernel aggregates "
                    "numbers: count its rows, or cast it"
                )

    def _found(self, names: set[str], first: int, last: int) -> pa.Table:
        """The columns, windows and look-ups that names stand on, of some rows."""
        needed = {*ordered_needs(sorted(names), self._program.plan.features)}
        given = [name for name in self._rows.schema.names if name == "row_id" or name in needed]
        table = self._rows.read(given, first, last)
        if parts := self._program.needed_parts(needed):
            last = first - 1 + table.num_rows
            found = self._history.answers(parts, needed, first - 1, last)
            for name, column in zip(found.column_names, found.columns, strict=True):
                table = table.append_column(name, column)
        return table

    def _facts(self, found: pa.Table, columns: Mapping[str, str]) -> pa.Table:
        """The columns of these names and expressions, over what was found, and facts over that.

        What was found itself does not go through SQL.
        """
        written = {name: sql for name, sql in columns.items() if sql not in found.column_names}
        table = {name: found[sql] for name, sql in columns.items() if name not in written}
        if written:
            words = set[str]().union(*map(names_in, written.values()))
            facts = self._program.plan.over("found", sorted(words))
            self._connection.register("found", found)
            asked = [named(sql, name) for name, sql in written.items()]
            told = self.fetch(select(asked, f"({facts}) AS layered"))
            self._connection.unregister("found")
            table |= dict(zip(told.column_names, told.columns, strict=True))
        return pa.table(table)


def _typed(column: pa.ChunkedArray, kind: pa.DataType | None) -> pa.ChunkedArray:
    return column if kind is None else column.cast(kind)
