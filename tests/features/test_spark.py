"""Spark gives the same features as DuckDB, from the same SQL."""

import os
import shutil
import sys
from importlib.util import find_spec

import pytest
from hypothesis import Phase, given, settings

from features.build import BuildConfig, build
from features.groups import portfolio_groups
from features.spark import NoSparkError
from tests.features.streams import Stream, built, differing, streams

GROUPS = portfolio_groups(["merchant_id", "merchant_category"], order=("amount", "clock", "retailer"))
SPARK = BuildConfig(engine="spark", memory_limit="2GB")
here = find_spec("pyspark") is not None and shutil.which("java") is not None
needs_spark = pytest.mark.skipif(not here and not os.environ.get("CI"), reason="pyspark or java is not installed")


@needs_spark
@settings(deadline=None, max_examples=2, phases=[Phase.generate])
@given(stream=streams(least=15))
def test_spark_equals_duckdb(stream: Stream) -> None:
    spark = build(stream.transactions, stream.labels, GROUPS, config=SPARK)
    assert differing(spark.to_pandas().set_index("transaction_id"), built(stream, GROUPS)) == []


def test_without_spark_one_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)
    monkeypatch.setitem(sys.modules, "pyspark.errors", None)
    with pytest.raises(NoSparkError, match=r"Spark is not installed; run: pip install 'strata-fraud\[spark\]'"):
        SPARK.start().__enter__()
