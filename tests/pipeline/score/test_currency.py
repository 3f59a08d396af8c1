"""What is scored in one currency is shown as it was paid; no champion meets another."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.casework import alert_page, queue
from pipeline.portfolio import Portfolio
from pipeline.portfolio_tables import Currency
from pipeline.registry.bundle import BundleError
from pipeline.registry.champion import Champion
from tests.small_world import AS_OF, Desk, World

COIN = "EUR"  # of the small world


def in_pounds(world: World, folder: Path, *, rate: float = 0.5) -> Portfolio:
    """The world's portfolio, reported in pounds at one rate for every week."""
    lines = [f"{COIN},2025-{month:02}-{day:02},{rate}" for month in (1, 2) for day in range(1, 29)]
    file = folder / "rates.csv"
    text = "\n".join(["currency,day,rate", *lines, f"{COIN},2025-01-31,{rate}"])
    file.write_text(text, encoding="utf-8")
    return replace(world.portfolio, currency=Currency(reporting="GBP", rates=str(file)))


def of_pounds(world: World, *, rates: str = "") -> Champion:
    """The world's champion as if trained in pounds; every score is worth a look."""
    bundle = world.trained.bundle
    policy = replace(bundle.policy, cost=0.0, friction_cost=0.0, least_gain=0.0)
    return Champion(version="1", bundle=replace(bundle, policy=policy, currency="GBP", rates=rates))


def test_an_alert_has_what_was_paid_and_its_loss_in_one_currency(
    world: World, tmp_path: Path
) -> None:
    desk = Desk.open(world, tmp_path / "desk")
    portfolio = in_pounds(world, tmp_path)
    desk.score(champion=of_pounds(world), portfolio=portfolio, until=AS_OF.replace(day=6))
    paid = world.transactions.to_pandas().set_index("transaction_id")["amount"]
    scores = desk.scores
    alerts = queue(desk.casework, world.lake.portfolio, limit=10)
    assert {alert.loss_currency for alert in alerts} == {"GBP"}
    for alert in alerts:
        assert {amount.currency for amount in alert.amounts} == {COIN}
        for one in alert_page(desk.casework, alert.id).transactions:
            row = scores.loc[one.transaction_id]
            assert (one.amount, one.currency) == (paid[one.transaction_id], COIN)
            assert row["amount"] == pytest.approx(one.amount / 2, abs=1e-4)
            assert one.expected_loss == pytest.approx(row["score"] * row["amount"])


def test_a_champion_of_another_currency_is_refused(world: World, tmp_path: Path) -> None:
    assert world.trained.bundle.currency == COIN
    desk = Desk.open(world, tmp_path / "desk")
    said = f"version 1 of world was trained on amounts in {COIN}, and they are in GBP now"
    with pytest.raises(BundleError, match=said):
        desk.score(portfolio=in_pounds(world, tmp_path))
    assert not desk.lake.exists("scores")


def test_a_champion_of_other_rates_is_refused(world: World, tmp_path: Path) -> None:
    desk = Desk.open(world, tmp_path / "desk")
    with pytest.raises(BundleError, match=r"rates in .*rates.csv from before 2025-02-05 have chan"):
        desk.score(champion=of_pounds(world, rates="0123"), portfolio=in_pounds(world, tmp_path))
