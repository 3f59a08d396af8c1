"""How far probabilities lie from what happened: little where they are right."""

import numpy as np
import pytest
from scipy.special import expit

from pipeline.evaluation.reliability import expected_calibration_error, reliability


def drawn(shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, and labels whose log-odds lie that much above those of the probabilities."""
    generator = np.random.default_rng(1)
    z = generator.normal(-4, 2, size=200_000)
    return expit(z), generator.random(len(z)) < expit(z + shift)


def test_a_perfect_probability_has_a_small_error_and_a_wrong_one_a_large() -> None:
    accounts = np.arange(200_000) // 10
    right, wrong = (
        expected_calibration_error(fraud, p, accounts=accounts, draws=200)
        for p, fraud in (drawn(0.0), drawn(-1.0))
    )
    assert right.error < 0.003 < right.high + 0.003
    assert wrong.low > right.high
    assert wrong.low < wrong.error < wrong.high


def test_the_reliability_table_adds_up_to_the_error() -> None:
    p, fraud = drawn(0.5)
    table = reliability(fraud, p, bins=10)
    assert table["rows"].sum() == len(p)
    assert table["frauds"].sum() == fraud.sum()
    distance = (table["mean_probability"] - table["fraud_rate"]).abs() * table["rows"] / len(p)
    error = expected_calibration_error(fraud, p, accounts=np.arange(len(p)), draws=1).error
    assert distance.sum() == pytest.approx(error)
