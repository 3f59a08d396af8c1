"""An alert's page shows its facts, its reasons, and the confirmed cases nearest to it."""

from fastapi.testclient import TestClient
from sqlalchemy import Engine

from pipeline.casework import raise_alerts
from tests.casework_examples import NOW, flagged, near
from tests.desk_client import alert_of


def test_an_alerts_page_shows_facts_reasons_and_what_a_weight_means(
    ann: TestClient, engine: Engine
) -> None:
    page = ann.get(f"/alerts/{alert_of(engine, 'a2')}").text
    assert "Is this fraud?" in page
    assert "Country of the IP: RO, card country: DE" in page
    assert 'Amount: 100 EUR <span class="attribution">+0.75</span>' in page
    assert 'all else <span class="attribution">+0.25</span>' in page  # of the amount's +1.00
    assert "given the groups before it" in page
    assert page.count("<svg class=") == 3  # base, amount, ip


def test_the_riskiest_transaction_is_shown_first_and_another_on_demand(
    ann: TestClient, engine: Engine
) -> None:
    path = f"/alerts/{alert_of(engine, 'a2')}.json"
    assert ann.get(path).json()["reasons"]["transaction_id"] == "t3"
    assert ann.get(path, params={"transaction": "t2"}).json()["reasons"]["transaction_id"] == "t2"
    assert (
        ann.get(path, params={"transaction": "of another alert"}).json()["reasons"][
            "transaction_id"
        ]
        == "t3"
    )


def test_the_nearest_confirmed_cases_are_told_with_their_alerts(
    ann: TestClient, engine: Engine
) -> None:
    near_ones = (near("t1", distance=0.125), near("<c>", is_fraud=False, distance=2.0))
    raise_alerts(engine, [flagged("t9", "a9", nearest=near_ones)], portfolio="world", now=NOW)
    path, there = (
        f"/alerts/{alert_of(engine, 'a9')}",
        f"/alerts/{alert_of(engine, 'a1')}?transaction=t1#reasons",
    )
    rows = [
        (case["transaction_id"], case["verdict"], case["amount"], case["distance"], case["href"])
        for case in ann.get(f"{path}.json").json()["reasons"]["nearest"]
    ]
    assert rows == [
        ("t1", "fraud", "80.00 EUR", "0.12", there),
        ("<c>", "legitimate", "80.00 EUR", "2.00", None),
    ]
    page = ann.get(path).text
    assert "Nearest confirmed cases" in page
    assert f'<th scope="row"><a href="{there}">t1</a>' in page
    assert '<th scope="row">&lt;c&gt;' in page


def test_without_near_cases_there_is_no_table_of_them(ann: TestClient, engine: Engine) -> None:
    raise_alerts(engine, [flagged("t9", "a9", nearest=())], portfolio="world", now=NOW)
    assert "Nearest confirmed cases" not in ann.get(f"/alerts/{alert_of(engine, 'a9')}").text


def test_a_transaction_without_stages_has_a_page(ann: TestClient, engine: Engine) -> None:
    bare = flagged("bare", "a9")
    raise_alerts(
        engine,
        [type(bare)(**{**vars(bare), "stages": (), "currency": None})],
        portfolio="world",
        now=NOW,
    )
    assert ann.get(f"/alerts/{alert_of(engine, 'a9')}").status_code == 200
