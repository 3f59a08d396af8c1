"""Times by hand: the circles of hour and week, and how usual an hour is for the account."""

import math

import pytest

from tests.features.streams import facts


def on_circles(days: list[float], names: tuple[str, str]) -> list[list[float]]:
    """Two features, a sine and a cosine, of payments on these days."""
    found = facts("clock", *({"day": day} for day in days))
    return [found[name].tolist() for name in names]


def test_the_hour_is_a_place_on_a_circle_of_24() -> None:
    sines, cosines = on_circles(
        [0, 6 / 24, 6.99 / 24, 8 / 24, 18 / 24], ("clock_hour_sine", "clock_hour_cosine")
    )
    assert sines == pytest.approx([0, 1, 1, math.sqrt(3) / 2, -1], abs=1e-9)
    assert cosines == pytest.approx([1, 0, 0, -0.5, 0], abs=1e-9)


def test_the_weekday_is_a_place_on_a_circle_of_7() -> None:
    monday, wednesday, sunday = -2, 0, 4  # START is a Wednesday
    sines, cosines = on_circles(
        [monday, wednesday, sunday], ("clock_weekday_sine", "clock_weekday_cosine")
    )
    assert sines == pytest.approx(
        [0, math.sin(2 * math.tau / 7), math.sin(6 * math.tau / 7)], abs=1e-9
    )
    assert cosines == pytest.approx(
        [1, math.cos(2 * math.tau / 7), math.cos(6 * math.tau / 7)], abs=1e-9
    )


def test_night_ends_at_seven_and_the_weekend_on_monday() -> None:
    nights = facts("clock", *({"day": hour / 24} for hour in (0, 6.99, 7, 23.99)))
    assert nights["clock_night"].tolist() == [1, 1, 0, 0]
    # from Friday evening to Monday
    days = facts("clock", *({"day": day} for day in (2.99, 3, 4.99, 5)))
    assert days["clock_weekend"].tolist() == [0, 1, 1, 0]


def test_how_usual_an_hour_is_counts_the_accounts_payments_at_it() -> None:
    nine = 9 / 24
    found = facts(
        "clock",
        {"day": nine},
        {"day": 1 + nine},
        {"day": 2 + nine},
        {"day": 3},
        {"day": 3 + nine, "account_id": "b"},
    )
    assert found["clock_hour_share"].tolist() == pytest.approx(
        [1 / 24, 2 / 25, 3 / 26, 1 / 27, 1 / 24]
    )


def test_the_time_since_the_previous_payment_is_the_accounts_own() -> None:
    found = facts("clock", {"day": 0}, {"day": 1}, {"day": 1.5, "account_id": "b"}, {"day": 92})
    assert found["clock_seconds_since_previous"].tolist() == pytest.approx(
        [math.nan, 86400, math.nan, math.nan], nan_ok=True
    )
