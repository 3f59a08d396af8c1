"""Alerts are raised once, joined until their verdict, claimed and unclaimed."""

import pytest
from sqlalchemy import Engine, func, select

from pipeline.casework import (
    Amount,
    RaisedAlerts,
    alert_page,
    alerted_up_to,
    claim,
    counts,
    decide,
    in_alerts,
    portfolios,
    queue,
    raise_alerts,
    unclaim,
)
from pipeline.casework.tables import Audit
from tests.casework_examples import NOW, TOMORROW, flagged


def audit_rows(engine: Engine) -> int:
    with engine.begin() as connection:
        return connection.scalar(select(func.count()).select_from(Audit)) or 0


def test_an_accounts_flagged_transactions_make_one_alert(engine: Engine) -> None:
    raised = raise_alerts(
        engine,
        [flagged("t1", "a1"), flagged("t2", "a1"), flagged("t3", "a2")],
        portfolio="world",
        now=NOW,
    )
    assert raised == RaisedAlerts(new_alerts=2, added=3, already=0)
    assert counts(engine, "world") == {
        "alerts": {"open": 2, "in_review": 0, "decided": 0},
        "holds": 0,
    }


def test_raising_again_changes_nothing(engine: Engine, alert_id: int) -> None:
    before = alert_page(engine, alert_id)
    assert raise_alerts(
        engine, [flagged("t1"), flagged("t2")], portfolio="world", now=TOMORROW
    ) == RaisedAlerts(new_alerts=0, added=0, already=2)
    assert alert_page(engine, alert_id) == before


def test_the_same_transaction_twice_in_one_call_counts_once(engine: Engine) -> None:
    raised = raise_alerts(engine, [flagged("t1"), flagged("t1")], portfolio="world", now=NOW)
    assert raised == RaisedAlerts(new_alerts=1, added=1, already=1)


def test_a_later_transaction_joins_the_undecided_alert_and_raises_its_worth(
    engine: Engine, alert_id: int
) -> None:
    raised = raise_alerts(
        engine, [flagged("t3", score=0.75, loss=30.0)], portfolio="world", now=TOMORROW
    )
    alert = alert_page(engine, alert_id).alert
    assert raised == RaisedAlerts(new_alerts=0, added=1, already=0)
    assert (alert.transactions, alert.expected_loss, alert.top_score) == (3, 70.0, 0.75)
    assert alert.amounts == (Amount(total=300.0, currency="EUR"),)


def test_after_the_verdict_a_new_transaction_opens_a_new_alert(
    engine: Engine, alert_id: int
) -> None:
    decide(engine, alert_id, verdict="legitimate", by="ann", now=NOW)
    assert raise_alerts(engine, [flagged("t3")], portfolio="world", now=TOMORROW).new_alerts == 1


def test_portfolios_do_not_share_alerts(engine: Engine, alert_id: int) -> None:
    assert raise_alerts(engine, [flagged("t1")], portfolio="cards", now=NOW).new_alerts == 1
    assert portfolios(engine) == ("cards", "world")
    assert counts(engine, "cards")["alerts"]["open"] == 1
    assert counts(engine)["alerts"]["open"] == 2


def test_more_transactions_than_one_statement_takes_are_raised(engine: Engine) -> None:
    many = [flagged(f"t{number}", f"a{number % 4_000}") for number in range(12_000)]
    assert raise_alerts(engine, many, portfolio="world", now=NOW) == RaisedAlerts(
        new_alerts=4_000, added=12_000, already=0
    )
    assert raise_alerts(engine, many, portfolio="world", now=NOW).already == 12_000


def test_nothing_flagged_raises_nothing(engine: Engine) -> None:
    before = audit_rows(engine)
    assert raise_alerts(engine, [], portfolio="world", now=NOW) == RaisedAlerts(
        new_alerts=0, added=0, already=0
    )
    assert audit_rows(engine) == before


def test_the_batch_is_remembered_with_its_alerts(engine: Engine) -> None:
    assert alerted_up_to(engine, "world") == -1
    raise_alerts(engine, [flagged("t1")], portfolio="world", batch=4, now=NOW)
    raise_alerts(engine, [], portfolio="world", batch=5, now=NOW)
    assert (alerted_up_to(engine, "world"), alerted_up_to(engine, "cards")) == (5, -1)
    assert in_alerts(engine, "world", ["t1", "t2"]) == {"t1"}


def test_an_alert_put_back_is_in_the_queue_again(engine: Engine, alert_id: int) -> None:
    claim(engine, alert_id, by="ann", now=NOW)
    assert (len(queue(engine)), len(queue(engine, state="in_review"))) == (0, 1)
    unclaim(engine, alert_id, by="ann", now=NOW)
    assert len(queue(engine)) == 1


def test_a_time_without_its_zone_is_refused(engine: Engine, alert_id: int) -> None:
    with pytest.raises(Exception, match="has no zone"):
        claim(engine, alert_id, by="ann", now=NOW.replace(tzinfo=None))
