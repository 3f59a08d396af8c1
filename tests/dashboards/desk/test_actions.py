"""Each form does its one thing, leads on, and is refused in one sentence."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from pipeline.casework import active_holds, alert_page, decide, labels_after
from tests.casework_examples import NOW
from tests.desk_client import alert_of, post, signed_in


def test_a_verdict_becomes_labels_and_leads_to_the_next_alert(
    ann: TestClient, engine: Engine
) -> None:
    answer = post(ann, f"/alerts/{alert_of(engine, 'a2')}/verdict", verdict="fraud", note="stolen")
    assert answer.headers["location"] == f"/alerts/{alert_of(engine, 'a1')}?decided=2"
    assert [(label.transaction_id, label.is_fraud) for label in labels_after(engine, "world")] == [
        ("t2", True),
        ("t3", True),
    ]
    assert (
        "Alert 2 of a2 is decided: fraud. 2 transactions labelled."
        in ann.get(answer.headers["location"]).text
    )


def test_after_the_last_verdict_the_way_leads_to_the_queue(ann: TestClient, engine: Engine) -> None:
    for account in ("a1", "a2", "a3"):
        answer = post(ann, f"/alerts/{alert_of(engine, account)}/verdict", verdict="legitimate")
    assert answer.headers["location"] == "/?decided=3"


def test_a_line_on_top_cannot_be_made_up_by_a_link(ann: TestClient) -> None:
    for made_up in ("decided=1", "decided=99", "decided=x", "decided=²", "done=hacked"):
        assert 'role="status"' not in ann.get(f"/?{made_up}").text


def test_an_account_is_frozen_until_the_end_of_the_day_chosen(
    ann: TestClient, engine: Engine
) -> None:
    answer = post(ann, "/alerts/1/freeze", kind="debit", reason="stolen", review_by="2025-03-12")
    hold = active_holds(engine)[0]
    assert answer.headers["location"] == "/alerts/1?done=frozen"
    assert (hold.account_id, hold.kind, hold.owner) == ("a1", "debit", "ann")
    assert hold.review_by.isoformat() == "2025-03-12T23:59:59+00:00"


def test_an_alert_is_taken_and_put_back(ann: TestClient, engine: Engine) -> None:
    assert post(ann, "/alerts/1/take").headers["location"] == "/alerts/1?done=taken"
    assert alert_page(engine, 1).alert.reviewer == "ann"
    post(ann, "/alerts/1/return")
    assert alert_page(engine, 1).alert.state == "open"


def test_a_senior_reverses_a_verdict(client: TestClient, engine: Engine) -> None:
    decide(engine, 1, verdict="fraud", by="ann", now=NOW)
    sue = signed_in(client, "sue")
    assert "Reverse to legitimate" in sue.get("/alerts/1").text
    assert post(sue, "/alerts/1/reversal", verdict="legitimate", note="called").status_code == 303
    assert [label.is_fraud for label in labels_after(engine, "world")] == [True, False]


def test_a_viewer_sees_no_form_that_changes_a_case_and_is_refused(
    client: TestClient, engine: Engine
) -> None:
    vic = signed_in(client, "vic")
    page = vic.get("/alerts/1").text
    assert "You are viewer and may look, not decide." in page
    assert '<button id="fraud"' not in page
    refused = post(vic, "/alerts/1/verdict", verdict="fraud")
    assert (
        refused.status_code,
        "vic is viewer and may not decide alerts" in refused.text.replace("Vic", "vic"),
    ) == (403, True)
    assert labels_after(engine, "world") == ()


def test_an_alert_decided_meanwhile_is_told_in_one_sentence(
    ann: TestClient, engine: Engine
) -> None:
    decide(engine, 1, verdict="fraud", by="ben", now=NOW)
    answer = post(ann, "/alerts/1/verdict", verdict="legitimate")
    assert answer.status_code == 409
    assert "Alert 1 was decided as fraud by ben already; a senior can reverse it." in answer.text


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/alerts/1/verdict", {"verdict": "perhaps"}),
        ("/alerts/1/verdict", {}),
        ("/alerts/1/freeze", {"kind": "all", "reason": "x", "review_by": "soon"}),
        ("/alerts/1/verdict", {"verdict": "fraud", "note": "x" * 2001}),
    ],
    ids=["odd verdict", "no verdict", "no date", "endless note"],
)
def test_a_bad_form_changes_nothing_and_says_why(
    ann: TestClient, engine: Engine, path: str, fields: dict[str, Any]
) -> None:
    answer = post(ann, path, **fields)
    assert (answer.status_code, "is not right" in answer.text) == (422, True)
    assert alert_page(engine, 1).alert.state == "open"
