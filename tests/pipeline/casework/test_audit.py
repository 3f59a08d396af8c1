"""Every change leaves its row in the audit."""

from sqlalchemy import Engine

from pipeline.casework import alert_page, claim, decide, release
from tests.casework_examples import NOW, freeze_account


def test_every_change_leaves_its_audit_row(engine: Engine, alert_id: int) -> None:
    claim(engine, alert_id, by="ann", now=NOW)
    freeze_account(engine)
    decide(engine, alert_id, verdict="fraud", note="sure", by="ann", now=NOW)
    release(engine, "world", "a1", by="sue", now=NOW)
    assert [(row.who, row.what) for row in alert_page(engine, alert_id).history] == [
        ("strata", "raised the alert"),
        ("ann", "took the alert"),
        ("ann", "froze the account: all"),
        ("ann", "decided: fraud"),
        ("sue", "released the account"),
    ]
