"""DuckDB runs the SQL in this process, within a memory limit, spilling what is more to a folder."""

from collections.abc import Mapping
from contextlib import ExitStack
from glob import escape
from pathlib import Path
from types import TracebackType
from typing import Self

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from features.engines.protocol import Source
from features.spill import spill_folder
from features.sql.windows import select


class DuckDB:
    """DuckDB in this process.

    What exceeds the memory limit goes to a folder that is gone afterwards.
    """

    few = 20_000
    slice = 2_500_000
    piece = 500_000

    def __init__(self, *, memory_limit: str = "6GB", spill_folder: Path | None = None) -> None:
        self._memory_limit, self._spill_folder = memory_limit, spill_folder

    def __enter__(self) -> Self:
        """Connect."""
        with ExitStack() as opened:
            self._spilled = opened.enter_context(spill_folder(self._spill_folder))
            temp = {"temp_directory": str(self._spilled / "temp")}
            self._connection = opened.enter_context(
                duckdb.connect(config={"memory_limit": self._memory_limit, **temp})
            )
            self._opened = opened.pop_all()
        self._connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of everything."""
        self._opened.close()

    def give(
        self, name: str, source: Source, moments: Mapping[str, str], *, where: str = ""
    ) -> list[str]:
        """Make a source known by name, and its moments by new names; return its own columns.

        The moments are then epoch microseconds. Only the rows that meet a condition are seen of it.
        """
        if isinstance(source, pa.Table | ds.Dataset):
            self._connection.register(f"given_{name}", source)
        else:
            files = self._connection.read_parquet([*map(escape, source)], union_by_name=True)
            files.create_view(f"given_{name}")
        columns: list[str] = self._connection.table(f"given_{name}").columns
        integers = [
            f"epoch_us({moment}) AS {own}" for own, moment in moments.items() if moment in columns
        ]
        seen = f"given_{name}{' WHERE ' if where else ''}{where}"
        self._connection.execute(f"CREATE VIEW {name} AS {select(['*', *integers], seen)}")
        return columns

    def view(self, name: str, query: str) -> None:
        """Know a query by a name; nothing is kept."""
        self._connection.execute(f"CREATE VIEW {name} AS {query}")

    def table(self, name: str, query: str, *, in_order: bool, more: bool = False) -> None:
        """Keep what a query returns, or keep it too.

        In order of row_id where ranges of its rows are to be read.
        """
        make = f"INSERT INTO {name}" if more else f"CREATE TABLE {name} AS"
        self._connection.execute(f"{make} {query}{' ORDER BY row_id' if in_order else ''}")

    def shards(self, column: str, number: int) -> list[str]:
        """Conditions that part rows by the values of a column, evenly and each value whole."""
        return (
            [f"hash({column}) % {number} = {shard}" for shard in range(number)]
            if number > 1
            else ["TRUE"]
        )

    def fetch(self, query: str) -> pa.Table:
        """Return what a query returns."""
        return self._connection.sql(query).to_arrow_table()
