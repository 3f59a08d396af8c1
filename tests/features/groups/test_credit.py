"""Credit scores by hand: against the account's mean, against the last one known, and unknown."""

import math

import pytest

from tests.features.streams import facts


def test_a_score_is_held_against_the_accounts_mean_and_its_last_known_one() -> None:
    scores = [700.0, 640.0, None, 650.0]
    found = facts(
        "credit", *({"day": day, "credit_score": score} for day, score in enumerate(scores))
    )
    assert found["credit_points"].tolist() == pytest.approx([700, 640, math.nan, 650], nan_ok=True)
    assert found["credit_above_mean_90d"].tolist() == pytest.approx(
        [math.nan, -60, math.nan, -20], nan_ok=True
    )
    assert found["credit_above_last"].tolist() == pytest.approx(
        [math.nan, -60, math.nan, 10], nan_ok=True
    )
    assert found["credit_unknown"].tolist() == [0, 0, 1, 0]


def test_a_score_of_more_than_90_days_before_is_forgotten() -> None:
    found = facts(
        "credit", {"day": 0, "credit_score": 700.0}, {"day": 91, "credit_score": 640.0}
    ).iloc[-1]
    assert found[["credit_above_mean_90d", "credit_above_last"]].isna().all()
