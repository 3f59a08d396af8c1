"""The paired difference of two models: the weighted AP behind it, its interval, its table."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from pipeline.evaluation.bootstrap import (
    PairedDifference,
    RankedCells,
    comparison_table,
    paired_bootstrap,
    resample_accounts,
)
from pipeline.evaluation.metrics import Metrics


@given(
    st.integers(0, 2**32 - 1),
    st.integers(2, 80),
    st.integers(1, 12),
    st.sampled_from([2, 6, 1_000_000]),
)
def test_weighted_ap_is_scikit_learns_under_any_weights_and_ties(
    seed: int, rows: int, accounts: int, levels: int
) -> None:
    generator = np.random.default_rng(seed)
    fraud, score = generator.random(rows) < 0.3, generator.integers(levels, size=rows) / levels
    account = np.append(generator.integers(accounts, size=rows - 1), accounts - 1)
    weights = generator.integers(0, 4, size=(3, accounts)).astype(np.float64)
    assume(fraud.any())
    found = RankedCells.of(fraud, score, account).average_precision(weights)
    for ap, weight in zip(found, weights, strict=True):
        if (weight[account] * fraud).sum() == 0:
            assert np.isnan(ap)
        else:
            assert ap == pytest.approx(
                average_precision_score(fraud, score, sample_weight=weight[account]), abs=1e-12
            )


def two_models(seed: int, *, rows: int = 3000, accounts: int = 200) -> tuple[np.ndarray, ...]:
    """Labels, a telling score, a less telling one, and accounts."""
    generator = np.random.default_rng(seed)
    fraud = generator.random(rows) < 0.05
    ours, theirs = (fraud * lift + generator.normal(size=rows) for lift in (2.5, 1.5))
    return fraud, ours, theirs, generator.integers(accounts, size=rows).astype(str)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 500))
def test_the_interval_holds_the_difference_of_typical_models(seed: int) -> None:
    found = paired_bootstrap(*two_models(seed), draws=200)
    assert found.low < found.difference < found.high
    assert found.low > 0  # this much better is seen
    assert found.draws == 200


def test_swapping_the_models_turns_the_sign_and_a_seed_repeats_the_interval() -> None:
    fraud, ours, theirs, accounts = two_models(1)
    there, back = (
        paired_bootstrap(fraud, one, other, accounts, draws=100, seed=3)
        for one, other in ((ours, theirs), (theirs, ours))
    )
    assert (back.difference, back.low, back.high) == pytest.approx(
        (-there.difference, -there.high, -there.low)
    )
    assert there == paired_bootstrap(fraud, ours, theirs, accounts, draws=100, seed=3)
    assert there != paired_bootstrap(fraud, ours, theirs, accounts, draws=100, seed=4)


def test_only_the_order_of_scores_counts() -> None:
    fraud, ours, theirs, accounts = two_models(2)
    assert paired_bootstrap(fraud, ours, theirs, accounts, draws=50) == paired_bootstrap(
        fraud, np.exp(ours), theirs * 3 + 1, accounts, draws=50
    )


def test_accounts_drawn_whole_give_a_wider_interval_than_rows() -> None:
    fraud, ours, theirs, _ = two_models(3)
    # ten equal rows an account tell no more than one
    copies = [np.tile(values, 10) for values in (fraud, ours, theirs)]
    whole = paired_bootstrap(*copies, np.tile(np.arange(len(fraud)), 10), draws=200)
    rows = paired_bootstrap(*copies, np.arange(10 * len(fraud)), draws=200)
    assert whole.high - whole.low > 2 * (rows.high - rows.low)


def test_draws_are_whole_multinomial_samples_whatever_the_block() -> None:
    drawn = np.concatenate(list(resample_accounts(50, draws=30, seed=0, width=3_000_000)))
    assert drawn.shape == (30, 50)
    assert (drawn.sum(axis=1) == 50).all()
    assert (drawn == np.concatenate(list(resample_accounts(50, draws=30, seed=0, width=1)))).all()


def test_draws_without_fraud_have_no_ap_and_are_counted_out() -> None:
    found = paired_bootstrap([1, 0, 0], [3, 2, 1], [1, 2, 3], ["a", "b", "c"], draws=300)
    assert 150 < found.draws < 250  # "a" is missing from (2/3)^3 = 30 % of the draws


def some_metrics(ap: float) -> Metrics:
    return Metrics(
        rows=10,
        frauds=2,
        base_rate=0.2,
        auc=0.9,
        ap=ap,
        ap_over_chance=ap / 0.2,
        brier=0.1,
        log_loss=0.3,
        ece=0.01,
        precision_at_capacity=0.5,
        recall_at_capacity=1.0,
        value_recall_at_capacity=1.0,
        first_fraud_recall=0.5,
        value_at_1_to_1=0.2,
        value_at_5_to_1=0.6,
        value_at_10_to_1=0.8,
    )


def test_the_table_has_a_row_a_model_and_the_difference_to_the_reference() -> None:
    table = comparison_table(
        {"xgboost": some_metrics(0.5), "layered": some_metrics(0.6)},
        {"layered": PairedDifference(difference=0.1, low=0.05, high=0.15, draws=1000)},
        reference="xgboost",
    )
    assert table.index.tolist() == ["layered", "xgboost"]
    assert table.loc[
        "layered", ["ap", "ap_difference", "difference_low", "difference_high"]
    ].tolist() == [0.6, 0.1, 0.05, 0.15]
    assert np.isnan(table.loc["xgboost", "ap_difference"])
    assert table["frauds"].tolist() == [2, 2]


def test_an_unknown_reference_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'forest' is not among the models \['layered'\]"):
        comparison_table({"layered": some_metrics(0.6)}, {}, reference="forest")


@pytest.mark.parametrize(
    ("ours", "y", "draws", "message"),
    [
        pytest.param([1.0, 2.0], [0, 0], 10, "all legitimate", id="one class"),
        pytest.param([1.0], [0, 1], 10, "ours has 1 scores for 2 rows", id="other rows"),
        pytest.param(
            [1.0, np.inf], [0, 1], 10, "ours has 1 scores that are not finite", id="infinite"
        ),
        pytest.param([1.0, 2.0], [0, 1], 0, "at least 1 draw, not 0", id="no draws"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_sentence(
    ours: list[float], y: list[int], draws: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        paired_bootstrap(y, ours, [1.0, 2.0], ["a", "b"], draws=draws)
