"""Spark runs the same SQL as DuckDB over the same files: on this machine, or on a cluster."""

import atexit
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import pyarrow as pa
import pyarrow.dataset as ds

from features.engines.protocol import Source
from features.spill import spill_folder
from features.sql.windows import select

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# Where one of these is set, Spark is told where it runs and with how much memory: by spark-submit,
# or by who administers it.
CONFIGURED_BY = (
    "MASTER",
    "PYSPARK_GATEWAY_PORT",
    "PYSPARK_SUBMIT_ARGS",
    "SPARK_CONF_DIR",
    "SPARK_REMOTE",
)
LOG = Path(__file__).parent / "spark_log.properties"


class NoSparkError(ValueError):
    """Spark is asked for and not there."""


class Spark:
    """Spark, in a session of its own beside the given one, the one that runs, or one it starts.

    A session that it starts goes on until the process ends: the next user need not wait for it.
    """

    # no batch is so small that many queries over little would be faster here than windows over all
    # of it
    few = -1
    slice = 2**62  # it sorts on as many machines as it has
    piece = 2**31  # each piece would read all that is kept once more: everything is one piece

    def __init__(
        self,
        session: "SparkSession | None" = None,
        *,
        memory_limit: str = "6GB",
        spill_folder: Path | None = None,
    ) -> None:
        self._given, self._memory_limit, self._spill_folder = session, memory_limit, spill_folder
        self._names: list[str] = []

    def __enter__(self) -> Self:
        """Open the session."""
        with without_pandas_warning():
            running = self._given or start(
                os.environ, memory_limit=self._memory_limit, spill_folder=self._spill_folder
            )
            self.session = running.newSession()
        self.session.conf.set("spark.sql.session.timeZone", "UTC")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of the tables; Spark frees their memory when nothing reads them any more."""
        for name in self._names:
            self.session.catalog.dropTempView(name)

    def give(
        self, name: str, source: Source, moments: Mapping[str, str], *, where: str = ""
    ) -> list[str]:
        """Make a source known by name, and its moments by new names; return its own columns.

        The moments are then epoch microseconds. Only the rows that meet a condition are seen of it.
        """
        if isinstance(source, ds.Dataset):
            source = source.to_table()
        if isinstance(source, pa.Table):
            frame = self.session.createDataFrame(source)
        else:
            frame = self.session.read.option("mergeSchema", True).parquet(*map(_address, source))
        self._name(f"given_{name}", frame)
        columns: list[str] = frame.columns
        integers = [
            f"unix_micros({moment}) AS {own}"
            for own, moment in moments.items()
            if moment in columns
        ]
        seen = f"given_{name}{' WHERE ' if where else ''}{where}"
        self._name(name, self.frame(select(["*", *integers], seen)))
        return columns

    def view(self, name: str, query: str) -> None:
        """Know a query by a name; nothing is kept."""
        self._name(name, self.frame(query))

    def table(self, name: str, query: str, *, in_order: bool, more: bool = False) -> None:
        """Keep what a query returns, in memory and what is more on disk.

        Tables with a row_id lie side by side, split and sorted by it alike, so that they are joined
        without moving a row. Each is made at once and its making forgotten: a plan of all queries
        within one another is more than Spark can look through.
        """
        frame = self.frame(query)
        if "row_id" in frame.columns:
            parts = int(self.session.conf.get("spark.sql.shuffle.partitions") or 200)
            frame = frame.repartition(parts, "row_id").sortWithinPartitions("row_id")
        self._name(name, frame.localCheckpoint())

    def shards(self, column: str, number: int) -> list[str]:
        """One: Spark parts rows by itself."""
        return ["TRUE"]

    def fetch(self, query: str) -> pa.Table:
        """Return what a query returns."""
        table = self.frame(query).toArrow()
        # Spark marks columns that cannot be null
        return pa.table(dict(zip(table.column_names, table.columns, strict=True)))

    def frame(self, query: str) -> "DataFrame":
        """What a query will return, where it lies."""
        return self.session.sql(query)

    def _name(self, name: str, frame: "DataFrame") -> None:
        frame.createOrReplaceTempView(name)
        self._names.append(name)


def start(
    environment: Mapping[str, str], *, memory_limit: str, spill_folder: Path | None
) -> "SparkSession":
    """Return the session that runs, else start one as the environment tells Spark to.

    Where it tells nothing, Spark runs on this machine alone. Raises NoSparkError where it is not
    installed, or without Java.
    """
    try:
        from pyspark.errors import PySparkRuntimeError  # noqa: PLC0415 - who does not use Spark need not have it
        from pyspark.sql import SparkSession  # noqa: PLC0415
    except ImportError as error:
        raise NoSparkError(
            "Spark is not installed; run: pip install 'strata-fraud[spark]'"
        ) from error
    running = SparkSession.getActiveSession()
    if running is not None:
        return running
    builder = SparkSession.builder.appName("strata")
    if not any(name in environment for name in CONFIGURED_BY):
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        builder = builder.master("local[*]").config(
            map=_on_this_machine(memory_limit, spill_folder)
        )
    try:
        return builder.getOrCreate()
    except PySparkRuntimeError as error:
        raise NoSparkError(
            f"Spark did not start ({error}); it needs Java 17 or later, found by JAVA_HOME or PATH"
        ) from error


@contextmanager
def without_pandas_warning() -> Iterator[None]:
    """Keep Spark from warning of pandas 3: all that it gives and gets is Arrow."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "PySpark does not yet fully support pandas", FutureWarning
        )
        yield


def _on_this_machine(
    memory_limit: str, parent: Path | None
) -> dict[str, str | bool | int | float | None]:
    """Nothing listens beyond this machine, and there is no page to look at."""
    spilled = ExitStack()  # the session goes on until the process ends
    folder = spilled.enter_context(spill_folder(parent))
    atexit.register(spilled.close)
    return {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": memory_limit.removesuffix("B"),
        "spark.driver.defaultJavaOptions": f"-Dlog4j2.configurationFile={LOG}",
        "spark.sql.shuffle.partitions": "4",  # the default of 200 is for a cluster
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.local.dir": str(folder),
    }


def _address(file: str) -> str:
    """Spark's name for a file in S3 differs from everybody else's."""
    return file.replace("s3://", "s3a://", 1) if file.startswith("s3://") else file
