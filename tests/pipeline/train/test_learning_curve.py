"""The learning curve: spans are nested and end where the judged rows begin, and it says the truth.

Where the last doubling taught something, more history would pay; where nothing is to be learned
from older days it would not.
"""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from features.declarations import Group, fact
from pipeline.arrays import BoolArray, FloatArray, IntArray
from pipeline.models.baselines.boosting import XGBoost
from pipeline.models.baselines.columns import as_frame
from pipeline.models.layered.training import TrainConfig
from pipeline.models.risk_encoding import fit_risk
from pipeline.train.learning_curve import History, LearningCurve, learning_curve
from tests.small_network import SMALL

ROWS, DAYS = 8_000, 64
START = np.datetime64("2025-01-01T00:00:00", "us")
MOMENTS = START + np.linspace(0, DAYS, ROWS) * np.timedelta64(86_400_000_000, "us")
ACCOUNTS = np.array([f"a{row % 900}" for row in range(ROWS)])


def labels(rate: float = 0.08) -> BoolArray:
    return np.random.default_rng(0).random(ROWS) < rate


def curve_of(
    quality: dict[float, float], y: BoolArray | None = None, *, shared: bool = True
) -> LearningCurve | None:
    """The curve of a model that tells as well as `quality` says after so many days.

    What it errs by is `shared` by all spans, or each has its own.
    """
    fraud = labels() if y is None else y
    truth = labels(0.1)

    def told(rows: IntArray) -> FloatArray:
        days = round(len(rows) / ROWS * DAYS)
        same, own = (np.random.default_rng(seed).normal(size=ROWS) for seed in (1, 2 + days))
        return quality[days] * truth + (same if shared else own)

    return learning_curve("some", told, MOMENTS, fraud, truth=truth, accounts=ACCOUNTS)


def test_spans_are_the_latest_days_each_half_of_the_next() -> None:
    """Sixteenths to all: each span ends with the last row, and has the days it is told with."""
    seen: list[IntArray] = []

    def told(rows: IntArray) -> FloatArray:
        seen.append(rows)
        return np.arange(ROWS, dtype=np.float64)

    found = learning_curve("some", told, MOMENTS, labels(), truth=labels(0.1), accounts=ACCOUNTS)
    assert found is not None
    assert [point.days for point in found.points] == pytest.approx([4, 8, 16, 32, 64], abs=0.1)
    assert [point.rows for point in found.points] == [len(rows) for rows in seen]
    for rows, point in zip(seen, found.points, strict=True):
        assert rows[-1] == ROWS - 1
        assert (np.diff(rows) == 1).all()
        assert point.frauds == labels()[rows].sum()


@pytest.mark.parametrize(
    ("last", "shared", "word"),
    [
        (3.0, True, "more history would pay"),
        (1.0, True, "older history misleads"),
        (2.001, True, "more history would not pay"),
        (2.0, False, "it is not shown that more history would pay"),
    ],
)
def test_the_last_doubling_decides(*, last: float, shared: bool, word: str) -> None:
    """It is judged with its interval, whatever the points before did; what is little is none."""
    found = curve_of({4: 0.1, 8: 0.5, 16: 1.0, 32: 2.0, 64: last}, shared=shared)
    assert found is not None
    assert found.verdict.startswith(f"{word}: twice the days gave")


def test_spans_with_too_few_frauds_are_left_out() -> None:
    """A span needs 30 frauds; where only one has them there is no curve."""
    late = np.zeros(ROWS, dtype=bool)
    late[-ROWS // 4 :: 40] = True  # 50 of them, in the last 16 days
    found = curve_of(dict.fromkeys((4, 8, 16, 32, 64), 1.0), late)
    assert found is not None
    assert [round(point.days) for point in found.points] == [16, 32, 64]
    early = np.zeros(ROWS, dtype=bool)
    early[: ROWS // 4 : 40] = True
    assert curve_of(dict.fromkeys((4, 8, 16, 32, 64), 1.0), early) is None


def history() -> History:
    """Rows whose fraud shows in a number and in a shop, of which the risk is told."""
    random, fraud = np.random.default_rng(3), labels()
    features = (fact("paid", "amount", ""), fact("shop", "text", "", kind="category"))
    groups = (Group(name="amount", meaning="", needs=(), features=features),)
    shops = np.where(fraud & (random.random(ROWS) < 0.5), 0, random.integers(40, size=ROWS))
    rows = pa.table(
        {
            "as_of": pa.array(MOMENTS),
            "account_id": ACCOUNTS,
            "paid": random.normal(size=ROWS) + 1.5 * fraud,
            "shop": [f"s{shop}" for shop in shops],
        }
    )
    risk = fit_risk(rows, fraud, groups, shrinkage=10.0)
    assert risk.categories
    return History(features=rows, y=fraud, groups=groups, risk=risk, label_delay=timedelta(days=1))


def test_a_classical_model_and_the_network_learn_from_each_span() -> None:
    """Both are judged on the same last days; what is there to learn is learned from more rows."""
    known = history()
    config = TrainConfig(seeds=(1, 2), epochs=6, network=SMALL)
    fitted = XGBoost().fit(
        as_frame(known.features.drop_columns(["as_of", "account_id"])), known.y, ACCOUNTS, seed=1
    )
    trees = known.of_classical(fitted)
    network = known.of_network("layered", config)
    assert trees is not None
    assert network is not None
    for found in (trees, network):
        assert len(found.points) >= 3
        assert found.points[-1].ap > max(2 * known.y.mean(), found.points[0].ap), found
        assert found.points[-1].days == pytest.approx(0.85 * DAYS, abs=0.1)
    assert [point.rows for point in trees.points] == [point.rows for point in network.points]


def test_no_curve_where_no_days_can_be_judged() -> None:
    """Fifty frauds in the last third are needed, as everywhere."""
    known = history()
    few = np.zeros(ROWS, dtype=bool)
    few[:400] = True
    lacking = replace(known, y=few)
    assert lacking.of_classical(XGBoost()) is None
