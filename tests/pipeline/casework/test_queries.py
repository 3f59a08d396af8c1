"""The desk reads what was stored, the alert that is worth most first."""

from dataclasses import replace

from sqlalchemy import Engine

from pipeline.casework import alert_page, queue, raise_alerts
from tests.casework_examples import NOW, flagged


def test_the_queue_begins_with_the_highest_expected_loss(engine: Engine) -> None:
    losses = {"a1": 5.0, "a2": 50.0, "a3": 0.5}
    raise_alerts(
        engine,
        [flagged(f"t-{a}", a, loss=loss) for a, loss in losses.items()],
        portfolio="world",
        now=NOW,
    )
    assert [alert.account_id for alert in queue(engine)] == ["a2", "a1", "a3"]
    assert [alert.account_id for alert in queue(engine, limit=1, offset=1)] == ["a1"]


def test_losses_of_several_currencies_are_not_ranked_among_each_other(engine: Engine) -> None:
    losses = {"a1": (5.0, "EUR"), "a2": (900.0, "JPY"), "a3": (7.0, "EUR"), "a4": (950.0, "JPY")}
    for account, (loss, currency) in losses.items():
        one = replace(flagged(f"t-{account}", account, loss=loss), loss_currency=currency)
        raise_alerts(engine, [one], portfolio=f"of-{currency.lower()}", now=NOW)
    assert [alert.account_id for alert in queue(engine)] == ["a3", "a1", "a4", "a2"]
    assert [alert.account_id for alert in queue(engine, "of-jpy")] == ["a4", "a2"]
    assert {alert.loss_currency for alert in queue(engine, "of-jpy")} == {"JPY"}


def test_what_was_flagged_is_read_back_unchanged(engine: Engine, alert_id: int) -> None:
    case = alert_page(engine, alert_id)
    assert case.transactions == (flagged("t1"), flagged("t2"))
    assert case.alert.stages == flagged("t1").stages


def test_a_near_case_that_was_in_an_alert_of_the_portfolio_leads_there(
    engine: Engine, alert_id: int
) -> None:
    raise_alerts(engine, [flagged("c1", "c")], portfolio="cards", now=NOW)
    raise_alerts(engine, [flagged("c2", "c", nearest=())], portfolio="world", now=NOW)
    there = next(alert.id for alert in queue(engine, "world") if alert.account_id == "c")
    assert alert_page(engine, alert_id).alerts_near == {"c2": there}
    assert alert_page(engine, there).alerts_near == {}
