"""A confidence sequence: looked at every night it is wrong as seldom as it says, and finds what is.

The same runs by an interval made anew each night show that the test would see it.
"""

from collections.abc import Callable

import numpy as np
import pytest

from pipeline.arrays import FloatArray
from pipeline.evaluation.confidence_sequence import MIN_DAYS, confidence_sequence

RUNS, NIGHTS = 1000, 60
NOISES: dict[str, Callable[[np.random.Generator], FloatArray]] = {
    "normal days": lambda random: random.normal(size=NIGHTS),
    "days with outliers": lambda random: random.standard_t(3, size=NIGHTS),
    "quiet days but for a few": lambda random: (
        random.laplace(size=NIGHTS) * (random.random(NIGHTS) < 0.3)
    ),
    "two sums of losses": lambda random: (
        random.gamma(0.3, size=NIGHTS) - random.gamma(0.3, size=NIGHTS)
    ),
}


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
def test_it_is_wrong_in_at_most_one_run_of_twenty(
    noise: Callable[[np.random.Generator], FloatArray],
) -> None:
    """Sixty looks, no difference: at most 5 % of runs, and two standard errors of that, say one."""
    random = np.random.default_rng(1)
    runs = [noise(random) for _ in range(RUNS)]
    wrong = np.mean([confidence_sequence(run).first_apart() is not None for run in runs])
    assert wrong <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / RUNS)


def test_an_interval_made_anew_each_night_is_wrong_far_more_often() -> None:
    """What it replaces: the same looks at 1.96 standard errors."""
    random = np.random.default_rng(1)
    count = np.arange(MIN_DAYS, NIGHTS + 1)
    wrong = []
    for _ in range(RUNS):
        run = random.normal(size=NIGHTS)
        mean = np.cumsum(run)[MIN_DAYS - 1 :] / count
        wrong.append((np.abs(mean) > 1.96 / np.sqrt(count)).any())
    assert np.mean(wrong) > 0.2


def test_a_difference_of_half_a_days_spread_is_found_within_sixty_nights() -> None:
    """In most runs, and in the direction that it has."""
    random = np.random.default_rng(2)
    found = [confidence_sequence(0.5 + random.normal(size=NIGHTS)) for _ in range(200)]
    assert np.mean([one.first_above(0.0) is not None for one in found]) > 0.7
    assert not any((one.high < 0).any() for one in found)


def test_its_width_is_the_formulas() -> None:
    """By hand for 40 days of spread 1: rho^2 = (5.99 + ln 6.99) / 30, half a width of .501."""
    days = np.array([-1.0, 1.0] * 20)
    found = confidence_sequence(days)
    spread = days.std(ddof=1)
    rho2 = (5.99146 + np.log(6.99146)) / 30
    grown = 40 * rho2 + 1
    expected = spread * np.sqrt(2 * grown / (1600 * rho2) * np.log(np.sqrt(grown) / 0.05))
    assert found.high[-1] - found.mean[-1] == pytest.approx(expected, rel=1e-5)
    assert found.mean[-1] - found.low[-1] == pytest.approx(expected, rel=1e-5)


def test_nothing_is_said_before_the_tenth_day() -> None:
    found = confidence_sequence(np.arange(20.0))
    assert np.isinf(found.low[: MIN_DAYS - 1]).all()
    assert np.isfinite(found.low[MIN_DAYS - 1 :]).all()
    assert confidence_sequence([]).first_apart() is None


def test_a_later_day_changes_no_earlier_bound() -> None:
    """What was said on a night stays as it was said."""
    days = np.random.default_rng(3).normal(size=NIGHTS)
    whole, part = confidence_sequence(days), confidence_sequence(days[:30])
    np.testing.assert_array_equal(whole.low[:30], part.low)
    np.testing.assert_array_equal(whole.high[:30], part.high)


def test_large_costs_lose_no_digits() -> None:
    """A day's cost of a billion, and a difference of cents."""
    days = np.random.default_rng(4).normal(size=NIGHTS)
    near, far = confidence_sequence(days), confidence_sequence(days + 1e9)
    np.testing.assert_allclose(far.high - far.low, near.high - near.low, rtol=1e-5)


@pytest.mark.parametrize(
    ("days", "alpha", "match"),
    [
        ([1.0, float("nan")], 0.05, "day 2 has the difference nan; leave the day out"),
        ([1.0, float("inf")], 0.05, "day 2 has the difference inf"),
        ([1.0, 2.0], 0.0, "between 0 and 1, not 0.0"),
        ([1.0, 2.0], 1.5, "between 0 and 1, not 1.5"),
    ],
)
def test_what_is_no_difference_is_refused(days: list[float], alpha: float, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        confidence_sequence(days, alpha=alpha)
