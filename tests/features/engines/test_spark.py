"""Spark gives the same features as DuckDB; where it is missing, one sentence says so."""

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings

from features.build import BuildConfig, build
from features.declarations import Group, aggregate, fact
from features.engines.spark import NoSparkError, Spark
from features.groups.catalogue import portfolio_groups
from features.groups.declared import Declared, Key
from features.ip.addresses import packaged_database
from features.known_fraud import known_fraud
from features.schema import LABELS, transactions_schema
from features.sql.currency import Rates
from tests.features.streams import (
    ALL_GROUPS,
    DAY,
    START,
    Stream,
    built,
    differing,
    stream_of,
    streams,
)
from tests.spark_here import local_spark, needs_spark

ROW = {"account_id": "a", "merchant_id": "m", "amount": 10.0}
FEW = Group(
    name="few",
    meaning="a window, a fact over it, and what was known",
    needs=(),
    features=(
        aggregate("count_7d", "count", "account_id", "7d", "payments"),
        fact("share", "(count_7d + 0.1) / 3.0", "share"),
        *known_fraud("account_id", "account", named="account", spans=("7d",)),
    ),
)
WITHOUT_JAVA = """
from features.engines.spark import NoSparkError, Spark
try:
    Spark().__enter__()
except NoSparkError as error:
    print(error)
"""


@dataclass(frozen=True, kw_only=True)
class OnSpark(BuildConfig):
    """Builds on the session of the tests."""

    def start(self) -> Spark:
        return Spark(local_spark())


def built_on_spark(stream: Stream, groups: tuple[Group, ...] = ALL_GROUPS) -> pd.DataFrame:
    config = OnSpark(ip_databases=(packaged_database(),))
    frame: pd.DataFrame = build(
        stream.transactions, stream.labels, groups, config=config
    ).to_pandas()
    return frame.set_index("transaction_id")


@needs_spark
@settings(  # a failing stream is not made smaller: each build takes seconds
    deadline=None, max_examples=2, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(stream=streams(least=25, most=40))
def test_spark_equals_duckdb(stream: Stream) -> None:
    assume(stream.labels.num_rows > 10 and len(stream.transactions["as_of"].unique()) > 10)
    assert differing(built_on_spark(stream), built(stream)) == []


DECLARED = {
    "big": {"aggregate": "sum", "of": "amount / 3", "key": "store", "where": "amount > 9.5"},
    "before": {"aggregate": "last", "of": "channel", "key": "account+store"},
    "over": {"sql": "CASE WHEN channel LIKE 'on%' THEN amount / (amount - 10) ELSE ln(big) END"},
    "is_odd": {"sql": "store_count_7d > 0 AND NOT (channel = 'it''s')"},
}


@needs_spark
def test_declared_keys_and_features_equal_duckdbs() -> None:
    (group,) = portfolio_groups(
        transactions_schema().names,
        order=("store",),
        keys={"store": Key(column="merchant_id", meaning="store", spans=("7d",))},
        features={
            name: Declared(group="store", meaning=name, span="" if "sql" in said else "7d", **said)
            for name, said in DECLARED.items()
        },
    )
    wanted = {"store_count_7d", "store_new_for_account", *DECLARED}
    few = tuple(replace(one, shown=one.name in wanted) for one in group.features)
    rows = [ROW | {"as_of": START + day * DAY, "amount": 10.0 + day % 3} for day in range(9)]
    channels = ["online", None, "it's", "pos", "online"]
    rows = [one | {"channel": channels[at % 5]} for at, one in enumerate(rows)]
    stream = stream_of(rows, [])
    groups = (replace(group, features=few),)
    assert differing(built_on_spark(stream, groups), built(stream, groups)) == []


@needs_spark
def test_spark_converts_amounts_as_duckdb_does() -> None:
    coins = ["USD", "JPY", None, "EUR", "USD", "JPY"]
    rows = [ROW | {"as_of": START + at * DAY, "currency": coin} for at, coin in enumerate(coins)]
    stream = stream_of(rows, [])
    day = (START - datetime(1970, 1, 1, tzinfo=UTC)).days
    daily = [
        {"currency": coin, "day": day + at, "rate": 0.1 + at / 7}
        for coin in ("USD", "JPY")
        for at in range(6)
    ]
    table = pa.Table.from_pylist(daily)
    rates = Rates(reporting="EUR", file="rates.csv", daily=table, stated=table)
    found, expected = (
        build(stream.transactions, stream.labels, (FEW,), config=config, rates=rates)
        for config in (OnSpark(), BuildConfig(engine="duckdb"))
    )
    assert found["amount"].equals(expected["amount"])
    assert expected["amount"].to_pylist() == [1.0, 2.4286, 10.0, 10.0, 6.7143, 8.1429]


@needs_spark
def test_no_rows_have_the_same_columns_and_types() -> None:
    empty = Stream(transactions=transactions_schema().empty_table(), labels=LABELS.empty_table())
    found = build(empty.transactions, empty.labels, (FEW,), config=OnSpark())
    assert found.schema == build(empty.transactions, empty.labels, (FEW,)).schema


def eventful_stream() -> Stream:
    """Ties, a payment as old as the window is long, and labels that come between payments."""
    rows = [ROW | {"as_of": START + day * DAY} for day in (0, 1, 1, 7, 8, 9)]
    return stream_of(rows, [[(True, 7 * DAY)], [(False, timedelta(hours=1)), (True, 8 * DAY)]])


MUTATIONS = {
    "a window that ends at the current row": ("1 PRECEDING", "CURRENT ROW"),
    "labels seen a day late": ("greatest(known_us, ", "greatest(known_us + 86400000000, "),
}


@needs_spark
@pytest.mark.parametrize(("old", "new"), MUTATIONS.values(), ids=MUTATIONS.keys())
def test_a_difference_is_seen_in(old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    good = Spark.frame
    monkeypatch.setattr(Spark, "frame", lambda engine, query: good(engine, query.replace(old, new)))
    assert (
        differing(built_on_spark(eventful_stream(), (FEW,)), built(eventful_stream(), (FEW,))) != []
    )


@needs_spark
def test_a_session_that_runs_is_used_and_left_as_it_was() -> None:
    given = local_spark()
    zone, views = given.conf.get("spark.sql.session.timeZone"), given.catalog.listTables()
    with BuildConfig(engine="spark").start() as engine:
        engine.give(
            "things", stream_of([ROW | {"as_of": START}], []).transactions, {"as_of_us": "as_of"}
        )
        assert engine.fetch("SELECT as_of_us FROM things").to_pylist() == [
            {"as_of_us": 1_735_689_600_000_000}
        ]
    assert (given.conf.get("spark.sql.session.timeZone"), given.catalog.listTables()) == (
        zone,
        views,
    )


def test_without_spark_one_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pyspark", "pyspark.errors", "pyspark.sql"):
        monkeypatch.setitem(sys.modules, name, None)
    with (
        pytest.raises(
            NoSparkError, match=r"Spark is not installed; run: pip install 'strata-fraud\[spark\]'"
        ),
        BuildConfig(engine="spark").start(),
    ):
        pass


@needs_spark
def test_without_java_one_sentence_says_what_is_missing() -> None:
    environment = {**os.environ, "JAVA_HOME": "/nowhere"}
    printed = subprocess.run(
        [sys.executable, "-c", WITHOUT_JAVA],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "it needs Java 17 or later, found by JAVA_HOME or PATH" in printed
