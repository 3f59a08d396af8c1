"""What `features.build` needs of an engine that runs its SQL."""

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol, Self, TypeAlias, runtime_checkable

import pyarrow as pa
import pyarrow.dataset as ds

from features.state.files import Arrays

if TYPE_CHECKING:
    from features.sql.plan import Plan

# a table, a data set, or the addresses of Parquet files
Source: TypeAlias = pa.Table | ds.Dataset | Sequence[str]


EngineName = Literal["duckdb", "kernel", "spark"]


Shards = Callable[[str, int], list[str]]  # of a column, so many conditions


class Engine(Protocol):
    """What `features.build` needs of an engine, used as a context manager.

    `few` is the number of rows up to which a micro-batch is joined with its past; more are windows
    over all of it. About `slice` rows are sorted at a time, and `piece` rows put together.
    """

    few: int
    slice: int
    piece: int

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of everything."""

    def give(
        self, name: str, source: Source, moments: Mapping[str, str], *, where: str = ""
    ) -> list[str]:
        """Make a source known by name, and its moments by new names; return its own columns.

        The moments are then epoch microseconds. Only the rows that meet a condition are seen of it.
        """

    def view(self, name: str, query: str) -> None:
        """Know a query by a name; nothing is kept."""

    def table(self, name: str, query: str, *, in_order: bool, more: bool = False) -> None:
        """Keep what a query returns, or keep it too.

        In order of row_id where ranges of its rows are to be read.
        """

    def shards(self, column: str, number: int) -> list[str]:
        """Conditions that part rows by the values of a column, evenly and each value whole."""

    def fetch(self, query: str) -> pa.Table:
        """Return what a query returns."""


@runtime_checkable
class WindowEngine(Engine, Protocol):
    """An engine that computes windows, look-ups and label windows itself, and only rows by SQL."""

    def learn(self, plan: "Plan", *, earlier: Sequence[Arrays] = (), keep: bool = False) -> None:
        """Take in all rows of a plan's table, for the windows of its features.

        They stand behind the rows of which segments were kept `earlier`.
        """

    def kept(self) -> Arrays:
        """What later rows need of those that were taken in to be kept."""

    def read(self, columns: Mapping[str, pa.DataType | None], *, first: int, last: int) -> pa.Table:
        """Return columns and features of the rows from `first` to `last`, in order.

        Each of its type here; of its own where none is given.
        """
