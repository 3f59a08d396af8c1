"""Amounts by hand: how they are made up, and what they are against the account's own past."""

import math

import pytest

from tests.features.streams import facts

MADE_UP = {  # amount: round to, of the next limit, just below it
    0.0: (0, 0.0, 0),
    19.99: (0, 0.1999, 0),
    7.0: (1, 0.07, 0),
    30.0: (10, 0.3, 0),
    97.99: (0, 0.9799, 0),
    98.0: (1, 0.98, 1),
    99.99: (0, 0.9999, 1),
    100.0: (100, 0.5, 0),
    490.0: (10, 0.98, 1),
    9_999.0: (1, 0.9999, 1),
    10_000.0: (1000, math.nan, 0),
    12_345.67: (0, math.nan, 0),
}


def test_how_amounts_are_made_up() -> None:
    found = facts("amount", *({"amount": amount} for amount in MADE_UP))
    for place, name in enumerate(("amount_round_to", "amount_of_limit", "amount_below_limit")):
        assert found[name].tolist() == pytest.approx(
            [row[place] for row in MADE_UP.values()], nan_ok=True
        ), name


def test_the_largest_so_far_is_above_all_earlier_payments() -> None:
    rows = [{"day": day, "amount": amount} for day, amount in enumerate((10.0, 10.0, 12.0, 5.0))]
    after = {"day": 94, "amount": 1.0}  # the fourth is out of reach
    assert facts("amount", *rows, after)["amount_is_largest"].tolist() == pytest.approx(
        [math.nan, 0, 1, 0, math.nan], nan_ok=True
    )


def test_a_band_is_half_a_doubling_and_its_share_is_drawn_to_a_twentieth() -> None:
    # A band ends at 2^3.5 - 1.003 = 10.3107.
    rows = [{"day": day, "amount": amount} for day, amount in enumerate((10.0, 10.31, 10.32))]
    assert facts("amount", *rows)["amount_band_share"].tolist() == pytest.approx(
        [1 / 20, 2 / 21, 1 / 22]
    )
