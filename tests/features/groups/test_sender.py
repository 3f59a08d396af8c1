"""An account by hand: what it paid, what was declined, what was new to it, and what it was paid."""

import math

import pytest

from features.groups.catalogue import portfolio_groups
from tests.features.streams import START, facts

LONDON = "81.2.69.142"


def test_counts_sums_means_and_maxima_are_over_each_span() -> None:
    amounts = [(0, 50.0), (29.5, 10.0), (29.99, 20.0)]
    rows = [{"day": day, "amount": amount} for day, amount in amounts]
    last = facts("sender", *rows, {"day": 30, "amount": 1.0}).iloc[-1]
    spans = ("1h", "1d", "7d", "30d")
    assert [last[f"account_count_{span}"] for span in spans] == [1, 2, 2, 3]
    assert [last[f"account_sum_{span}"] for span in spans] == [20, 30, 30, 80]
    assert [last[f"account_most_{span}"] for span in spans] == [20, 20, 20, 50]
    assert [last[f"account_mean_{span}"] for span in ("1h", "1d")] == [20, 15]


def test_an_account_that_paid_nothing_has_no_mean() -> None:
    found = facts("sender", {}).iloc[0]
    assert (found["account_count_1h"], found["account_sum_1h"]) == (0, 0)
    assert math.isnan(found["account_mean_1h"])
    assert math.isnan(found["account_most_1h"])


def test_values_that_were_new_to_the_account_are_added_up_over_its_payments() -> None:
    rows = [
        # an address, its country, a device, a retailer
        {"day": 0, "ip_address": LONDON, "device_id": "d", "merchant_id": "m"},
        # a device and a receiver
        {"day": 2, "ip_address": LONDON, "device_id": "e", "counterparty_id": "r"},
        {"day": 2.5, "ip_address": LONDON, "device_id": "e", "merchant_country": "GB"},  # a country
        {"day": 2.51},
    ]
    last = facts("sender", *rows).iloc[-1]
    assert [last[f"account_new_values_{span}"] for span in ("1h", "1d", "7d", "30d")] == [
        1,
        3,
        7,
        7,
    ]


def test_new_values_are_those_that_the_portfolio_has() -> None:
    *_, sender = portfolio_groups(["merchant_id"])
    assert {f.name: f.sql for f in sender.features}[
        "new_values"
    ] == "coalesce(merchant_new_for_account, 0)"
    *_, bare = portfolio_groups([])
    assert not [feature.name for feature in bare.features if "new_values" in feature.name]


def test_declined_payments_are_the_accounts_own() -> None:
    rows = [
        {"day": 0, "declined": True},
        {"day": 0.5, "declined": True},
        {"day": 0.5, "account_id": "b", "declined": True},
    ]
    last = facts("sender", *rows, {"day": 0.51, "declined": True}).iloc[-1]
    assert (last["account_declined_1h"], last["account_declined_1d"]) == (1, 2)


def test_what_an_account_received_is_what_others_paid_to_it() -> None:
    rows = [
        {"day": 0, "account_id": "x", "counterparty_id": "a", "amount": 40.0},
        {"day": 5.5, "account_id": "y", "counterparty_id": "a", "amount": 9.0},
        {"day": 5.5, "account_id": "y", "counterparty_id": "b", "amount": 1000.0},
        {"day": 6, "account_id": "a", "counterparty_id": "z", "amount": 45.0},
    ]
    last = facts("sender", *rows).iloc[-1]
    assert (last["account_received_1d"], last["account_received_7d"]) == (9, 49)
    assert last["account_amount_over_received_7d"] == pytest.approx(45 / (49 + 1))


def test_age_counts_from_the_opening() -> None:
    found = facts("sender", {"day": 1.5, "account_opened_at": START}, {"day": 1.5})
    assert found["account_age_days"].tolist() == pytest.approx([1.5, math.nan], nan_ok=True)
