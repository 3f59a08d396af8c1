"""A retailer by hand: its usual amounts, its volume, and who is new there."""

import pytest

from tests.features.streams import facts


def test_an_amount_is_held_against_what_the_retailer_usually_takes() -> None:
    # Earlier: 10 and 20, so a mean of 15 and a spread of 5.
    rows = [
        {"day": 0, "merchant_id": "m"},
        {"day": 1, "merchant_id": "m", "amount": 20.0},
        {"day": 1, "merchant_id": "n", "amount": 99.0},
    ]
    last = facts(
        "retailer", *rows, {"day": 2, "merchant_id": "m", "amount": 27.0, "account_id": "b"}
    ).iloc[-1]
    assert last["merchant_amount_over_mean"] == pytest.approx(27 / 16)
    assert last["merchant_amount_z"] == pytest.approx((27 - 15) / (5 + 1))


def test_volume_is_held_against_the_mean_day_of_its_month() -> None:
    days = (0, 10, 29.5, 29.6, 29.7)
    last = facts("retailer", *({"day": day, "merchant_id": "m"} for day in (*days, 30))).iloc[-1]
    assert last["merchant_volume_ratio"] == pytest.approx((3 + 1) / (5 / 30 + 1))


def test_a_retailer_is_new_to_each_account_once() -> None:
    payments = [(0, "a"), (10, "a"), (11, "b"), (12, "a"), (13, "c")]
    found = facts(
        "retailer",
        *({"day": day, "account_id": account, "merchant_id": "m"} for day, account in payments),
    )
    assert found["merchant_new_for_account"].tolist() == [1, 0, 1, 0, 1]


def test_an_unknown_retailer_tells_nothing() -> None:
    found = facts("retailer", {"day": 0}, {"day": 1}).iloc[-1]
    rates = [name for name in found.index if name.startswith("merchant_fraud_rate")]
    # as of a retailer nobody has a label of
    assert found[rates].tolist() == pytest.approx([0.1 / 20] * 3)
    assert found.drop(["account_id", "event_time", "as_of", "amount", *rates]).isna().all()
