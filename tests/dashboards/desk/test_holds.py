"""Holds are listed with what is overdue and what stands against their release."""

from datetime import timedelta

from fastapi.testclient import TestClient
from sqlalchemy import Engine

from pipeline.casework import active_holds, decide
from tests.casework_examples import NOW, PASSWORD, TOMORROW, freeze_account
from tests.desk_client import Clock, post


def test_release_is_offered_only_after_the_verdict(ann: TestClient, engine: Engine) -> None:
    freeze_account(engine)
    before = ann.get("/alerts/1").text
    refused = post(ann, "/holds/release", portfolio="world", account_id="a1")
    decide(engine, 1, verdict="fraud", by="ann", now=NOW)
    released = post(ann, "/holds/release", portfolio="world", account_id="a1", alert_id="1")
    assert "Alert 1 of this account is not decided yet." in before
    assert "disabled" in before
    assert (refused.status_code, "decide it before the release" in refused.text) == (409, True)
    assert released.headers["location"] == "/alerts/1?done=released"
    assert active_holds(engine) == ()


def test_holds_are_listed_with_what_is_overdue_and_what_blocks(
    ann: TestClient, engine: Engine, clock: Clock
) -> None:
    freeze_account(engine)
    freeze_account(engine, "z9", kind="debit", owner="sue", review_by=TOMORROW + timedelta(days=1))
    clock.now = NOW + timedelta(hours=25)
    post(ann, "/login", name="ann", password=PASSWORD)
    twin = ann.get("/holds.json").json()
    assert [(row["account_id"], row["overdue"], row["blocked"]) for row in twin["rows"]] == [
        ("a1", True, "Alert 1 of this account is not decided yet."),
        ("z9", False, None),
    ]
    assert "overdue" in ann.get("/holds").text
