"""The metrics of one scored set, by hand, by scikit-learn and by the Handbook's own judge."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from pipeline.evaluation.capacity import findings
from pipeline.evaluation.metrics import (
    Metrics,
    average_precision,
    equal_mass_bins,
    evaluate,
    value_shares,
)

STEP = np.finfo(np.float64).eps
LOSS = -np.log([0.9, 0.5, 0.9, 0.8, 0.3, 0.2]).mean()  # of four_days()
JUDGE = Path(__file__).parents[4] / "shared" / "judge" / "handbook.py"


def labelled_scores() -> st.SearchStrategy[tuple[np.ndarray, np.ndarray]]:
    """Labels of both classes with scores on a coarse grid, so that ties are common."""
    row = st.tuples(st.booleans(), st.integers(0, 8))
    rows = st.lists(row, min_size=2, max_size=60).filter(
        lambda rows: len({fraud for fraud, _ in rows}) == 2
    )
    return rows.map(
        lambda rows: (np.array([f for f, _ in rows]), np.array([s / 8 for _, s in rows]))
    )


def four_days() -> dict[str, object]:
    """Three accounts on two days; "a" is defrauded on both, "c" on the second."""
    return {
        "y": [True, False, False, True, False, True],
        "probability": [0.9, 0.5, 0.1, 0.8, 0.7, 0.2],
        "accounts": ["a", "b", "c", "a", "b", "c"],
        "event_time": pd.Series(pd.to_datetime(["2025-01-01"] * 3 + ["2025-01-02"] * 3, utc=True)),
        "amount": [10.0, 1.0, 1.0, 20.0, 1.0, 70.0],
    }


def evaluated(**changes: object) -> Metrics:
    return evaluate(**{**four_days(), "capacity_per_day": 1, **changes})  # type: ignore[arg-type]  # built by name


def test_analysts_find_an_account_once_and_its_later_fraud_counts_as_caught() -> None:
    metrics = evaluated()
    # "a" on the first day; "b" is looked at on the second, in vain
    assert metrics.precision_at_capacity == 0.5
    assert metrics.recall_at_capacity == 0.5
    assert metrics.value_recall_at_capacity == pytest.approx(30 / 100)


def test_the_first_fraud_of_an_account_counts_on_its_own_day_alone() -> None:
    """Account a is found at once; c only with room for two, on the day of its first."""
    assert evaluated().first_fraud_recall == 0.5
    assert evaluated(capacity_per_day=2).first_fraud_recall == 1
    late = {"y": [True, False, True, True, False, True]}  # "c" is defrauded on the first day, too
    assert evaluated(**late, capacity_per_day=2).recall_at_capacity == 1
    assert evaluated(**late, capacity_per_day=2).first_fraud_recall == 0.5


def test_value_is_counted_down_to_the_threshold_that_keeps_the_ratio() -> None:
    """Ranked: 10 (fraud), 20 (fraud), legitimate, legitimate, 70 (fraud), legitimate."""
    shares = value_shares(
        np.array([True, True, False, False, True, False]),
        np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4]),
        [10.0, 20.0, 1.0, 1.0, 70.0, 1.0],
        false_positives=[0, 1],
    )
    assert shares == [pytest.approx(0.3), 1.0]


def test_value_at_a_ratio_that_no_threshold_keeps_is_nothing() -> None:
    """Two legitimate rows share the highest score with the fraud, and part with it nowhere."""
    fraud, score = np.array([True, False, False]), np.array([0.5, 0.5, 0.5])
    assert value_shares(fraud, score, [9.0, 1.0, 1.0], false_positives=[1, 2]) == [0.0, 1.0]
    assert value_shares(fraud, score, [0.0, 1.0, 1.0], false_positives=[5]) == [0.0]


@given(labelled_scores(), st.integers(0, 10))
def test_value_at_a_ratio_is_the_best_of_all_thresholds_that_keep_it(
    rows: tuple[np.ndarray, np.ndarray], ratio: int
) -> None:
    """Said the slow way: each score is tried as a threshold."""
    fraud, score = rows
    amount = np.arange(1.0, len(fraud) + 1)
    kept = [0.0]
    for threshold in np.unique(score):
        chosen = score >= threshold
        if (chosen & ~fraud).sum() <= ratio * (chosen & fraud).sum():
            kept.append(amount[chosen & fraud].sum() / amount[fraud].sum())
    (found,) = value_shares(fraud, score, amount, false_positives=[ratio])
    assert found == pytest.approx(max(kept))


def test_a_day_with_fewer_accounts_than_capacity_still_divides_by_it() -> None:
    metrics = evaluated(capacity_per_day=10)
    assert metrics.precision_at_capacity == 2 / 20
    assert metrics.recall_at_capacity == 1
    assert metrics.value_recall_at_capacity == 1


def test_counts_base_rate_and_what_chance_would_reach_stand_beside_the_ap() -> None:
    metrics = evaluated()
    assert (metrics.rows, metrics.frauds, metrics.base_rate) == (6, 3, 0.5)
    assert metrics.ap == pytest.approx((1 + 1 + 3 / 5) / 3)
    assert metrics.ap_over_chance == pytest.approx(metrics.ap / 0.5)


def test_fraud_without_value_has_nothing_to_recall() -> None:
    assert evaluated(amount=[0.0] * 6).value_recall_at_capacity == 0


@given(labelled_scores())
def test_ap_is_scikit_learns_with_ties(rows: tuple[np.ndarray, np.ndarray]) -> None:
    fraud, score = rows
    theirs = average_precision_score(fraud, score)
    assert average_precision(fraud, score) == pytest.approx(theirs, abs=1e-12)


def test_auc_counts_ties_half() -> None:
    # 0.9 and 0.8 lie above all three legitimate rows, 0.2 above one of them
    assert evaluated().auc == pytest.approx((3 + 3 + 1) / 9, abs=1e-12)
    assert evaluated(probability=[0.5] * 6).auc == 0.5


@pytest.mark.parametrize(
    ("probability", "loss"),
    [
        pytest.param([0.9, 0.5, 0.1, 0.8, 0.7, 0.2], LOSS, id="between 0 and 1"),
        pytest.param([1.0, 0.0, 0.0, 1.0, 0.0, 1.0], 0.0, id="certain and right"),
        pytest.param(
            [0.0, 0.0, 0.0, 1.0, 0.0, 1.0], -np.log(STEP) / 6, id="certain and wrong once"
        ),
    ],
)
def test_log_loss_takes_certainty_as_one_float_step_from_it(
    probability: list[float], loss: float
) -> None:
    assert evaluated(probability=probability).log_loss == pytest.approx(loss, abs=1e-12)


@given(labelled_scores(), st.integers(1, 12))
def test_bins_keep_equal_scores_together_and_the_order_of_scores(
    rows: tuple[np.ndarray, np.ndarray], bins: int
) -> None:
    _, score = rows
    found = equal_mass_bins(score, bins)
    order = np.argsort(score)
    assert (np.diff(found[order]) >= 0).all()
    assert all(len(set(found[score == value])) == 1 for value in set(score))
    assert set(found) == set(range(found.max() + 1))
    assert found.max() < bins


def test_bins_of_distinct_scores_are_of_equal_mass() -> None:
    assert (
        np.bincount(equal_mass_bins(np.random.default_rng(1).permutation(1000) / 1000, 10)).tolist()
        == [100] * 10
    )


@pytest.fixture(scope="module")
def judge() -> ModuleType:
    if not JUDGE.exists():
        pytest.skip("the judge ../shared/judge/handbook.py is not beside this repository")
    spec = importlib.util.spec_from_file_location("handbook_judge", JUDGE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000), capacity=st.integers(1, 20), levels=st.sampled_from([5, 1_000_000])
)
def test_precision_at_capacity_is_the_judges_card_precision(
    judge: ModuleType, seed: int, capacity: int, levels: int
) -> None:
    generator = np.random.default_rng(seed)
    rows = pd.DataFrame(
        {
            "TX_DATETIME": pd.Timestamp("2018-08-08", tz="UTC")
            + pd.to_timedelta(generator.uniform(0, 7, 400), unit="D"),
            "CUSTOMER_ID": generator.integers(100, 160, 400),
            "TX_FRAUD": generator.random(400) < 0.1,
            "score": generator.integers(levels, size=400) / levels,
        }
    )
    ours = findings(
        rows["TX_FRAUD"].to_numpy(),
        rows["score"].to_numpy(),
        accounts=rows["CUSTOMER_ID"].astype(str).to_numpy(),
        event_time=rows["TX_DATETIME"],
        amount=np.ones(400),
        capacity_per_day=capacity,
    )
    assert ours.precision == pytest.approx(judge.card_precision(rows, k=capacity))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"y": [False] * 6}, "found 6 rows, all legitimate", id="no fraud"),
        pytest.param({"y": [True] * 6}, "found 6 rows, all fraud", id="fraud only"),
        pytest.param(
            {"y": [True, None, False, True, False, True]},
            "1 of 6 rows have no label",
            id="an unlabelled row",
        ),
        pytest.param({"y": [True, False]}, "found 2 labels for 6 rows", id="labels of other rows"),
        pytest.param(
            {"probability": [0.9, 0.5, 0.1, 0.8, 0.7, 1.2]},
            r"found 1\.2; calibrate",
            id="above one",
        ),
        pytest.param(
            {"probability": [0.9, 0.5, 0.1, 0.8, 0.7, np.nan]},
            "found nan; calibrate",
            id="not a number",
        ),
        pytest.param({"capacity_per_day": 0}, "at least 1, not 0", id="no capacity"),
    ],
)
def test_what_cannot_be_judged_is_refused_in_a_sentence(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        evaluated(**changes)
