"""The affine map from log-odds to a probability: found again, keeping order and sums."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from pipeline.models.calibration import (
    MIN_SLOPE,
    PlattScaling,
    fit_platt_scaling,
    prior_shift,
)


def drawn(a: float, b: float, *, rows: int = 200_000) -> tuple[np.ndarray, np.ndarray]:
    """Log-odds, and labels that follow a * z + b."""
    generator = np.random.default_rng(1)
    z = generator.normal(-4, 2, size=rows)
    return z, generator.random(rows) < expit(a * z + b)


@pytest.mark.parametrize(("a", "b"), [(1.0, 0.0), (0.5, -1.0), (2.0, 1.5)])
def test_the_map_that_made_the_labels_is_found(a: float, b: float) -> None:
    found = fit_platt_scaling(*drawn(a, b))
    assert (found.a, found.b) == pytest.approx((a, b), abs=0.05)


def test_mean_probability_after_the_fit_is_the_base_rate() -> None:
    z, fraud = drawn(0.7, 0.5)
    assert fit_platt_scaling(z, fraud).probability(z).sum() == pytest.approx(fraud.sum(), rel=1e-3)


@given(st.integers(0, 2**32 - 1), st.integers(2, 200), st.integers(1, 3), st.floats(0.01, 1e4))
def test_calibration_keeps_the_order_whatever_the_labels(
    seed: int, rows: int, frauds: int, spread: float
) -> None:
    generator = np.random.default_rng(seed)
    z = np.sort(generator.normal(size=rows) * spread)
    fraud = np.zeros(rows, dtype=bool)
    fraud[generator.choice(rows, size=min(frauds, rows - 1), replace=False)] = True
    found = fit_platt_scaling(z, fraud)
    assert found.a >= MIN_SLOPE
    assert (np.diff(found.logit(z)) >= 0).all()
    assert (np.diff(found.probability(z)) >= 0).all()


def test_one_fraud_moves_the_map_only_a_little() -> None:
    z = np.full(1000, np.log(1 / 999))
    found = fit_platt_scaling(z, np.arange(1000) == 0)
    assert (found.a, found.b) == pytest.approx((1, 0), abs=0.01)


def test_a_ranking_the_wrong_way_round_is_flattened_not_turned() -> None:
    z, fraud = drawn(1.0, 0.0, rows=20_000)
    found = fit_platt_scaling(-z, fraud)
    assert found.a == MIN_SLOPE
    assert found.probability(-z).mean() == pytest.approx(fraud.mean(), rel=0.01)


@given(st.floats(0.1, 10), st.floats(-5, 5), st.lists(st.floats(-20, 20), min_size=1, max_size=7))
def test_what_the_stages_add_stays_a_sum(a: float, b: float, stages: list[float]) -> None:
    found = PlattScaling(a=a, b=b)
    assert found.logit(-5 + sum(stages)) == pytest.approx(
        a * -5 + b + sum(a * stage for stage in stages), abs=1e-9
    )


def test_probabilities_do_not_overflow_at_either_end() -> None:
    assert PlattScaling().probability([-1e4, 0.0, 1e4]).tolist() == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"a": 0.0, "b": 1.0}, "finite a > 0", id="flat"),
        pytest.param({"a": 1.0, "b": float("nan")}, "finite a > 0", id="not a number"),
        pytest.param({"a": 1.0}, r"the numbers a and b, found \['a'\]", id="half a map"),
    ],
)
def test_a_damaged_calibration_is_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PlattScaling.from_json(values)


def test_one_class_or_infinite_log_odds_are_refused() -> None:
    with pytest.raises(ValueError, match="found 2 rows, all legitimate"):
        fit_platt_scaling([0.0, 1.0], [0, 0])
    with pytest.raises(ValueError, match="1 of 2 log-odds are not finite"):
        fit_platt_scaling([0.0, np.inf], [0, 1])


def test_a_prior_moves_the_odds_by_bayes_rule() -> None:
    """A sample of half frauds; of a stream with 1 in 100, odds are 99 times less."""
    moved = PlattScaling().shifted(prior_shift(0.5, 0.01))
    p = moved.probability([0.0, 2.0])
    assert p[0] == pytest.approx(0.01)
    odds = np.exp(2.0) / 99
    assert p[1] == pytest.approx(odds / (1 + odds))


def test_without_a_prior_nothing_is_moved() -> None:
    assert prior_shift(0.5, 0.0) == 0.0
