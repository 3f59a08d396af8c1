"""Anomaly scores: what lies far out is found by all, what does not go together by one."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from features.declarations import Group, fact
from features.encoder import EncodeError
from pipeline.models.anomaly import ECOD, AnomalyModel, AnomalyScore, Forest, anomaly_models
from pipeline.models.layered.network import NetworkConfig
from pipeline.models.layered.training import TrainConfig
from tests.small_network import GROUPS, SMALL, training_rows

QUICK = TrainConfig(epochs=2, network=SMALL)
ONE = (
    Group(
        name="amount",
        meaning="",
        needs=(),
        features=(fact("paid", "paid", "paid"), fact("far", "far", "far")),
    ),
)
NAMES = ["surprise", "isolation_forest", "ecod"]
ROWS = 3000


def model(name: str) -> AnomalyModel:
    return anomaly_models(GROUPS, config=QUICK)[name]


@pytest.fixture(scope="module")
def together() -> pa.Table:
    """What is paid and how far away go together: exp(1) to exp(5), within a tenth."""
    random = np.random.default_rng(1)
    scale = random.uniform(1, 5, ROWS)
    rows = training_rows(ROWS).set_column(0, "paid", pa.array(np.exp(scale)))
    return rows.set_column(2, "far", pa.array(np.exp(scale + random.normal(0, 0.1, ROWS))))


def test_a_combination_of_usual_values_is_found_by_the_surprise_and_not_by_the_tails(
    together: pa.Table,
) -> None:
    """Paid exp(1.6) and far exp(4.4) are typical, but so small a payment is never so far.

    15 % of the rows lie beyond each.
    """
    odd = (
        together.slice(0, 1)
        .set_column(0, "paid", pa.array([np.exp(1.6)]))
        .set_column(2, "far", pa.array([np.exp(4.4)]))
    )
    config = TrainConfig(
        epochs=20, network=NetworkConfig(width=16, head_width=8, group_dropout=0.0)
    )
    surprise, ecod = AnomalyScore(GROUPS, config=config).fit(together), ECOD(GROUPS).fit(together)
    assert (surprise.score(together) < surprise.score(odd)).mean() > 0.95
    assert (ecod.score(together) < ecod.score(odd)).mean() < 0.8


@pytest.mark.parametrize("name", NAMES)
def test_what_lies_far_out_is_more_unusual_than_all_that_was_seen(name: str) -> None:
    rows = training_rows(ROWS)
    far_out = (
        rows.slice(0, 1)
        .set_column(0, "paid", pa.array([1e7]))
        .set_column(2, "far", pa.array([1e6]))
    )
    learned = model(name).fit(rows)
    assert learned.score(far_out)[0] > learned.score(rows).max()


def test_ecod_takes_the_largest_sum_of_tails() -> None:
    """Of paid 1, 2, 4 and 100 the row of 100 has the right tail 1/4 and the left one 4/4.

    Far is the same in all rows, so each of its tails is 1, and both sums of a row are -log of
    paid's tails: the larger is the right one where paid is
    high, the left one where low.
    """
    rows = pa.table({"paid": [1.0, 2.0, 4.0, 100.0], "far": [1.0] * 4})
    score = (
        ECOD(ONE).fit(rows).score(pa.table({"paid": [100.0, 1.0, 4.0, 1000.0], "far": [1.0] * 4}))
    )
    np.testing.assert_allclose(score, [np.log(4), np.log(4), np.log(2), np.log(5)], atol=1e-6)


def test_ecod_sums_sides_before_it_takes_the_largest() -> None:
    """Paid is at its lowest (left 1/4, right 1) and far at its highest (left 1, right 1/4).

    Each side alone sums to log 4. Paid's logs lean to the right and far's to the left, so the
    skewed sum takes 1 and 1: the largest is log 4. The mirrored row has the tails that the skewness
    points to: log 4 twice.
    """
    paid, far = [1.0, 2.0, 4.0, 1000.0], [1.0, 300.0, 600.0, 1000.0]
    score = (
        ECOD(ONE)
        .fit(pa.table({"paid": paid, "far": far}))
        .score(pa.table({"paid": [1.0, 1000.0], "far": [1000.0, 1.0]}))
    )
    np.testing.assert_allclose(score, [np.log(4), 2 * np.log(4)], atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_missing_facts_are_taken_and_no_row_depends_on_another(name: str) -> None:
    gaps = training_rows(300).to_pandas()
    gaps.loc[::3, "paid"] = np.nan
    gaps.loc[::7, "country"] = None
    rows = pa.Table.from_pandas(gaps, schema=training_rows(1).schema, preserve_index=False)
    learned = model(name).fit(rows)
    score = learned.score(rows)
    assert score.shape == (300,)
    assert np.isfinite(score).all()
    np.testing.assert_allclose(learned.score(rows.slice(6, 1)), score[6:7], atol=1e-4)


def test_a_missing_number_lies_in_the_middle() -> None:
    rows = pa.table({"paid": [1.0, 2.0, 3.0], "far": [1.0, 2.0, 3.0]})
    asked = pa.table({"paid": pa.array([None, 2.0], pa.float64()), "far": [3.0, 3.0]})
    for learned in (ECOD(ONE).fit(rows), Forest(ONE).fit(rows)):
        one, other = learned.score(asked)
        assert one == other


@pytest.mark.parametrize("name", ["surprise", "isolation_forest"])
def test_the_same_seed_gives_the_same_score(name: str) -> None:
    rows = training_rows(300)
    assert np.array_equal(*(model(name).fit(rows).score(rows) for _ in range(2)))


@pytest.mark.parametrize("name", NAMES)
def test_bad_input_is_refused(name: str) -> None:
    rows = training_rows(100)
    infinite = rows.set_column(0, "paid", pa.array([np.inf] * 100))
    with pytest.raises(
        ValueError, match="there are 0 rows to learn from without labels; take a longer span"
    ):
        model(name).fit(rows.slice(0, 0))
    with pytest.raises(
        EncodeError, match="the feature paid is infinite in 100 rows; a missing value is null"
    ):
        model(name).fit(infinite)
    learned = model(name).fit(rows)
    with pytest.raises(
        EncodeError, match="the feature paid is infinite in 100 rows; a missing value is null"
    ):
        learned.score(infinite)


@pytest.mark.parametrize("name", NAMES)
def test_groups_without_numbers_are_refused(name: str) -> None:
    words = replace(GROUPS[0], features=GROUPS[0].features[1:])
    with pytest.raises(
        ValueError,
        match="the groups have no numbers to learn from without labels; take groups that have some",
    ):
        anomaly_models((words,), config=QUICK)[name].fit(training_rows(100))


@pytest.mark.parametrize("name", NAMES)
def test_no_rows_have_no_scores(name: str) -> None:
    rows = training_rows(100)
    learned = model(name).fit(rows)
    with pytest.raises(ValueError, match="there are 0 rows to score; give at least one"):
        learned.score(rows.slice(0, 0))
