"""The whole way: the demo, then an analyst's verdict, then the next training knows it."""

import json
import re
from datetime import UTC, datetime

import deltalake
import pandas as pd
import pytest

from pipeline.casework import add_user, alert_page, decide, open_casework, queue
from tests.demo_home import Demo


@pytest.fixture(scope="module")
def scores(demo: Demo) -> pd.DataFrame:
    return deltalake.DeltaTable(str(demo.home / "lake" / "world" / "scores")).to_pandas()


def test_the_demo_says_all_that_is_needed_to_believe_it(demo: Demo) -> None:
    for word in (
        "layered",
        "xgboost",
        "logistic",
        "base rate",
        "frauds in",
        "AP after each stage",
        "new alerts",
    ):
        assert word in demo.printed
    assert "http://127.0.0.1:8600" in demo.printed
    assert "http://127.0.0.1:8601" in demo.printed


def test_status_counts_what_the_demo_did(demo: Demo, scores: pd.DataFrame) -> None:
    told = json.loads(demo.strata("status", str(demo.portfolio), "--json"))
    assert told["transactions"] == 15_000
    assert told["scored"] == len(scores) > 0
    assert told["champion"]["version"] == "1"
    assert (
        told["alerts"]["open"] + told["alerts"]["decided"]
        == int(re.search(r"(\d+) new alerts", demo.printed)[1])
        > 0
    )  # type: ignore[index]


def test_stages_add_up(scores: pd.DataFrame) -> None:
    stages = [name for name in scores if name.startswith("stage_")]
    assert len(stages) == 10
    assert (scores["base"] + scores[stages].sum(axis=1) - scores["logit"]).abs().max() < 1e-5


def test_each_transaction_is_scored_once(demo: Demo, scores: pd.DataFrame) -> None:
    assert scores["transaction_id"].is_unique
    assert "scored 0, new alerts 0" in demo.strata("score", str(demo.portfolio))


def test_alerts_stay_within_the_capacity_of_each_day(demo: Demo, scores: pd.DataFrame) -> None:
    casework = open_casework(f"sqlite:///{demo.home / 'casework.db'}")
    alerts = queue(casework, "world", limit=1000)
    flagged = [
        t.transaction_id for alert in alerts for t in alert_page(casework, alert.id).transactions
    ]
    days = scores[scores["transaction_id"].isin(flagged)].assign(
        day=lambda rows: rows["as_of"].dt.floor("D")
    )
    assert days.groupby("day")["account_id"].nunique().max() <= 20


def test_a_verdict_becomes_a_label_that_the_lake_knows(demo: Demo) -> None:
    casework = open_casework(f"sqlite:///{demo.home / 'casework.db'}")
    add_user(casework, "bea", role="analyst", password="a long password", now=datetime.now(UTC))
    alert = queue(casework, "world")[0]
    transactions = {one.transaction_id for one in alert_page(casework, alert.id).transactions}
    decide(casework, alert.id, verdict="fraud", by="bea", now=datetime.now(UTC))
    demo.strata("score", str(demo.portfolio))
    demo.strata("score", str(demo.portfolio))
    labels = deltalake.DeltaTable(str(demo.home / "lake" / "world" / "labels")).to_pandas()
    told = labels[labels["source"] == "review"]
    assert set(told["transaction_id"]) == transactions
    assert len(told) == len(transactions)
    assert told["is_fraud"].all()
