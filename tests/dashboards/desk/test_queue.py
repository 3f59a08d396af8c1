"""The queue shows what is worth most first, filtered, page by page."""

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from pipeline.casework import claim, raise_alerts
from tests.casework_examples import NOW, flagged
from tests.desk_client import alert_of


def test_the_queue_begins_with_what_is_worth_most(ann: TestClient) -> None:
    page = ann.get("/")
    assert "What should I review next?" in page.text
    assert page.text.index("a2") < page.text.index("a1") < page.text.index("a3")
    assert "90.00 EUR" in page.text


def test_the_queues_twin_has_the_same_facts(ann: TestClient) -> None:
    twin = ann.get("/queue.json").json()
    first = twin["rows"][0]
    assert [row["account_id"] for row in twin["rows"]] == ["a2", "a1", "a3"]
    assert (first["transactions"], first["score"], first["at_risk"], first["age"]) == (
        2,
        "50.0 %",
        "200.00 EUR",
        "3 h",
    )
    assert [(reason["group"], reason["text"]) for reason in first["reasons"]] == [
        ("IP", "+2.00"),
        ("Amount", "+1.00"),
    ]


def test_the_queue_is_filtered_by_portfolio_and_state(ann: TestClient, engine: Engine) -> None:
    raise_alerts(engine, [flagged("t1", "c1")], portfolio="cards & co", now=NOW)
    claim(engine, alert_of(engine, "a1"), by="ben", now=NOW)
    cards = ann.get("/queue.json", params={"portfolio": "cards & co"}).json()
    in_review = ann.get("/queue.json", params={"state": "in_review"}).json()
    assert [row["account_id"] for row in cards["rows"]] == ["c1"]
    assert [(row["account_id"], row["reviewer"]) for row in in_review["rows"]] == [("a1", "ben")]
    assert "portfolio=cards+%26+co" in cards["tabs"][1]["href"]


def test_a_long_queue_is_turned_by_pages(ann: TestClient, engine: Engine) -> None:
    raise_alerts(engine, [flagged(f"b{n}", f"b{n}") for n in range(30)], portfolio="world", now=NOW)
    first, second = ann.get("/queue.json").json(), ann.get("/queue.json?page=2").json()
    assert (len(first["rows"]), first["following"], first["previous"]) == (25, "/?page=2", None)
    assert (len(second["rows"]), second["following"], second["previous"]) == (8, None, "/")


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/?portfolio=none", "Nothing waits for review"),
        ("/?state=decided", "No alert was decided yet"),
        ("/?state=in_review", "Nobody has taken an alert"),
        ("/holds", "No account is frozen"),
    ],
    ids=["open", "decided", "in review", "holds"],
)
def test_an_empty_page_says_what_to_do(ann: TestClient, path: str, sentence: str) -> None:
    assert sentence in ann.get(path).text
