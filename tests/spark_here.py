"""Spark for tests: one session for all of them, which spends little on many small queries."""

import os
import shutil
import sys
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from features.engines.spark import without_pandas_warning

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_missing = [
    name
    for name, there in (("pyspark", find_spec("pyspark")), ("java", shutil.which("java")))
    if not there
]
needs_spark = pytest.mark.skipif(
    bool(_missing) and not os.environ.get("CI"), reason=f"not installed: {', '.join(_missing)}"
)

FRUGAL = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.memory": "1g",
    "spark.driver.defaultJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    "spark.log.level": "ERROR",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    # Code made for a query, or a plan made while it runs, pays from a million rows on.
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.autoBroadcastJoinThreshold": "-1",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.shuffle.partitions": "2",
}


@cache
def local_spark() -> "SparkSession":
    """The session, on two cores, whose Python workers are this Python."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    with without_pandas_warning():
        from pyspark.sql import SparkSession

        return (
            SparkSession.builder.master("local[2]")
            .appName("tests")
            .config(map={**FRUGAL})
            .getOrCreate()
        )
