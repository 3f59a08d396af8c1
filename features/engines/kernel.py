"""The kernel: windows by compiled loops over key lists, in one pass; row-level SQL by DuckDB.

What windows stand on is computed of all rows first, from the lowest depth up, and put into key
lists; then features are read a piece of rows at a time.
"""

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from features.engines.arrays import values_of
from features.engines.duckdb import DuckDB
from features.engines.history import History
from features.engines.label_lists import ledger
from features.engines.program import Program, Wanted
from features.sql.labels import verdict_query
from features.sql.plan import Plan, ordered_needs
from features.sql.windows import select


class Kernel(DuckDB):
    """DuckDB in this process for the rows, and compiled loops for windows, label lists, look-ups."""

    few = -1  # no batch is so small that it is joined with its past
    piece = 500_000

    def learn(self, plan: Plan) -> None:
        """Make the key lists that a plan's features ask, over the table of its rows."""
        self._program = Program(plan)
        moments = values_of(self.fetch(f"SELECT as_of_us FROM {plan.rows} ORDER BY row_id")["as_of_us"])  # noqa: S608
        verdicts = ledger(self.fetch(verdict_query(plan.rows))) if self._program.judged else None
        self._history = History(self._program, moments, verdicts)
        for depth in self._program.depths:
            if wanted := self._program.wanted(depth):
                self._history.take_in(depth, wanted, self._everything(wanted, len(moments)))

    def read(
        self, columns: Iterable[str], names: Iterable[str], first: int, last: int
    ) -> pa.Table:
        """Select columns of the rows from `first` to `last`, in order.

        They may use the columns and features among `names`.
        """
        return self._over(columns, names, first, last)

    def _everything(self, wanted: Wanted, rows: int) -> Iterator[pa.Table]:
        for first in range(1, max(rows, 1) + 1, self.piece):
            yield self._over(wanted.columns(), wanted.names, first, first + self.piece - 1)

    def _over(
        self, columns: Iterable[str], names: Iterable[str], first: int, last: int
    ) -> pa.Table:
        """Select columns from the table of what `names` need, for some rows."""
        plan = self._program.plan
        needed = {*ordered_needs(names, plan.features)}
        stored = self._connection.table(plan.rows).columns
        given = [name for name in stored if name == "row_id" or name in needed]
        rows = f"{plan.rows} WHERE row_id BETWEEN {first} AND {last} ORDER BY row_id"
        table = self.fetch(select(given, rows))
        parts = self._program.needed_parts(needed)
        if parts:
            found = self._history.answers(parts, needed, first - 1, first - 1 + table.num_rows)
            for name in found.column_names:
                table = table.append_column(name, found[name])
        self._connection.register("piece", table)
        try:
            return self.fetch(select(columns, f"({plan.over('piece', needed)}) AS layered"))
        finally:
            self._connection.unregister("piece")
