"""A receiver by hand: who pays it, what comes in, what goes out again, and what was known of it."""

import math
from datetime import timedelta

import pytest

from tests.features.streams import ALL_GROUPS, DAY, START, built, facts, stream_of

MULE = [
    {"day": 0, "account_id": "a", "counterparty_id": "r", "amount": 100.0},
    {"day": 1, "account_id": "b", "counterparty_id": "r", "amount": 50.0},
    {"day": 1.5, "account_id": "b", "counterparty_id": "r", "amount": 30.0},
    {"day": 2, "account_id": "r", "counterparty_id": "x", "amount": 120.0},
    {"day": 2.2, "account_id": "c", "counterparty_id": "r", "amount": 10.0},
]


def test_what_comes_in_is_counted_with_the_accounts_that_are_new_to_the_receiver() -> None:
    last = facts("receiver", *MULE).iloc[-1]
    assert (last["receiver_count_1d"], last["receiver_count_7d"], last["receiver_count_30d"]) == (
        1,
        3,
        3,
    )
    assert (last["receiver_inflow_1d"], last["receiver_inflow_7d"]) == (30, 180)
    assert (last["receiver_new_accounts_1d"], last["receiver_new_accounts_7d"]) == (0, 2)
    assert last["receiver_amount_over_mean"] == pytest.approx(10 / (180 / 3 + 1))


def test_what_the_receiver_pays_as_an_account_is_what_it_passes_on() -> None:
    found = facts("receiver", *MULE)
    assert found["receiver_outflow_7d"].tolist() == [0, 0, 0, 0, 120]
    assert found["receiver_outflow_1d"].tolist() == [0, 0, 0, 0, 120]
    assert found["receiver_passed_on_7d"].iloc[-1] == pytest.approx(120 / (180 + 1))


def test_a_payment_does_not_count_as_the_receivers_own_outflow_at_its_instant() -> None:
    to_itself = [
        {"day": day, "account_id": "r", "counterparty_id": "r", "amount": 5.0} for day in (0, 0, 1)
    ]
    assert facts("receiver", *to_itself)["receiver_outflow_7d"].tolist() == [0, 0, 10]


def test_a_receiver_is_new_once_and_may_be_the_payer() -> None:
    receivers = ("r", "a", "r", None)
    found = facts(
        "receiver",
        *({"day": day, "counterparty_id": receiver} for day, receiver in enumerate(receivers)),
    )
    assert found["receiver_new_for_account"].tolist() == pytest.approx(
        [1, 1, 0, math.nan], nan_ok=True
    )
    assert found["receiver_is_payer"].tolist() == pytest.approx([0, 1, 0, math.nan], nan_ok=True)


def test_the_first_payment_to_a_receiver_is_over_no_mean() -> None:
    found = facts("receiver", {"counterparty_id": "r"}).iloc[0]
    assert math.isnan(found["receiver_amount_over_mean"])
    assert (found["receiver_inflow_30d"], found["receiver_passed_on_7d"]) == (0, 0)


def test_known_fraud_follows_the_receiver_from_account_to_account() -> None:
    paid = {"counterparty_id": "r", "amount": 5.0}
    rows = [
        paid | {"account_id": "a", "as_of": START},
        paid | {"account_id": "b", "as_of": START + 3 * DAY},
    ]
    stream = stream_of(rows, [[(True, timedelta(days=2))]])
    last = built(stream, tuple(group for group in ALL_GROUPS if group.name == "receiver")).iloc[-1]
    assert (last["receiver_known_frauds_30d"], last["receiver_days_since_fraud"]) == (1, 1)
