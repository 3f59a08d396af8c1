"""The classical models: they learn, repeat, survive their files, and say what they miss."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.linear_model import LogisticRegression

from pipeline.evaluation.metrics import average_precision
from pipeline.models.baselines.boosting import MAX_BINS, Growth, XGBoost, binned
from pipeline.models.baselines.columns import Columns
from pipeline.models.baselines.folds import tuning_sample
from pipeline.models.baselines.logistic import LinearInputs, solve
from pipeline.models.baselines.protocol import Baseline
from pipeline.models.baselines.registry import BASELINES

CHANNELS = np.array(["online", "pos", "atm"])


def world(seed: int, *, rows: int = 3000) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Features of every kind, labels that follow them, accounts."""
    generator = np.random.default_rng(seed)
    amount, hour, channel = (
        generator.lognormal(3, 1, rows),
        generator.uniform(0, 24, rows),
        generator.integers(3, size=rows),
    )
    logit = -6 + 1.5 * (np.log1p(amount) - 3) + 2.0 * (hour < 5) + 2.5 * (channel == 0)
    features = pd.DataFrame(
        {
            "amount": amount,
            "hour": np.where(generator.random(rows) < 0.1, np.nan, hour),
            "channel": pd.Series(CHANNELS[channel], dtype="string").mask(
                pd.Series(generator.random(rows) < 0.05)
            ),
            "constant": 1.0,
            "empty": np.nan,
        }
    )
    fraud = generator.random(rows) < 1 / (1 + np.exp(-logit))
    return features, fraud, np.array([f"a{n}" for n in generator.integers(300, size=rows)])


@pytest.fixture(scope="module", params=sorted(BASELINES))
def fitted(request: pytest.FixtureRequest) -> Baseline:
    features, fraud, accounts = world(1, rows=2000)
    return BASELINES[request.param]().fit(features, fraud, accounts, seed=0)


def test_it_ranks_new_rows_far_above_chance(fitted: Baseline) -> None:
    features, fraud, _ = world(2)
    logit = fitted.logit(features)
    assert logit.dtype == np.float64
    assert logit.shape == (len(features),)
    assert average_precision(fraud, logit) > 3 * fraud.mean()


def test_its_log_odds_are_at_the_natural_rate(fitted: Baseline) -> None:
    features, fraud, _ = world(1, rows=2000)
    assert (1 / (1 + np.exp(-fitted.logit(features)))).mean() == pytest.approx(
        fraud.mean(), rel=0.1
    )


def test_its_files_give_the_same_scores_and_hold_no_pickle(
    fitted: Baseline, tmp_path: Path
) -> None:
    features, _, _ = world(2)
    fitted.to_files(tmp_path)
    again = type(fitted).from_files(tmp_path)
    assert (again.logit(features) == fitted.logit(features)).all()
    assert again.settings == fitted.settings
    assert {file.suffix for file in tmp_path.iterdir()} <= {".json", ".ubj", ".txt", ".cbm"}


def test_a_row_alone_scores_as_in_the_batch_and_columns_may_come_in_any_order(
    fitted: Baseline,
) -> None:
    features, _, _ = world(2, rows=50)
    alone = np.concatenate([fitted.logit(features.iloc[[place]]) for place in range(50)])
    assert alone == pytest.approx(fitted.logit(features), abs=1e-9)
    assert (
        fitted.logit(features[features.columns[::-1]].assign(more=1.0)) == fitted.logit(features)
    ).all()


def test_what_it_chose_is_written_down(fitted: Baseline) -> None:
    _, fraud, _ = world(1, rows=2000)
    chosen = fitted.settings
    assert (chosen["rows"], chosen["frauds"], chosen["seed"], chosen["negatives_kept"]) == (
        2000,
        fraud.sum(),
        0,
        1.0,
    )
    assert isinstance(chosen["held_out_ap"], float)
    assert fraud.mean() < chosen["held_out_ap"] <= 1


def test_a_value_never_seen_is_scored(fitted: Baseline) -> None:
    features, _, _ = world(2, rows=3)
    unseen = features.assign(
        channel=pd.array(["carrier pigeon", None, "pos"], dtype="string"), empty=5.0
    )
    assert np.isfinite(fitted.logit(unseen)).all()


def test_missing_columns_are_named(fitted: Baseline) -> None:
    features, _, _ = world(2, rows=3)
    with pytest.raises(
        ValueError, match="the features lack amount, channel; build them with the portfolio"
    ):
        fitted.logit(features.drop(columns=["amount", "channel"]))


def test_infinite_features_are_named(fitted: Baseline) -> None:
    features, _, _ = world(2, rows=3)
    with pytest.raises(ValueError, match="infinite numbers in amount; give a missing value"):
        fitted.logit(features.assign(amount=np.inf))


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_the_same_seed_gives_the_same_model(name: str) -> None:
    features, fraud, accounts = world(3, rows=400)
    one, other = (BASELINES[name]().fit(features, fraud, accounts, seed=5) for _ in range(2))
    assert (one.logit(features) == other.logit(features)).all()
    assert one.settings == other.settings


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_frauds_of_one_account_are_learned_untuned(name: str) -> None:
    features, _, accounts = world(4, rows=300)
    model = BASELINES[name]().fit(features, accounts == accounts[0], accounts, seed=0)
    assert model.settings["folds"] == 0
    assert np.isfinite(model.logit(features)).all()


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_one_class_is_refused_and_so_is_scoring_before_learning(name: str, tmp_path: Path) -> None:
    features, _, accounts = world(4, rows=20)
    with pytest.raises(ValueError, match="found 20 rows, all legitimate"):
        BASELINES[name]().fit(features, np.zeros(20), accounts, seed=0)
    with pytest.raises(ValueError, match="has not learned yet"):
        BASELINES[name]().logit(features)
    with pytest.raises(ValueError, match="has not learned yet"):
        BASELINES[name]().to_files(tmp_path)


def test_an_account_is_in_one_fold_and_the_defrauded_are_dealt_evenly() -> None:
    _, fraud, accounts = world(5)
    sample = tuning_sample(fraud, accounts, seed=0)
    assert sample.usable == (0, 1, 2)
    assert pd.Series(sample.fold).groupby(accounts[sample.rows]).nunique().max() == 1
    defrauded = (
        pd.Series(sample.fold[fraud[sample.rows]])
        .groupby(accounts[sample.rows][fraud[sample.rows]])
        .first()
    )
    assert np.ptp(defrauded.value_counts()) <= 1


def test_thinning_for_the_choice_keeps_every_fraud_and_says_its_share() -> None:
    _, fraud, accounts = world(5)
    sample = tuning_sample(fraud, accounts, seed=0, most_rows=1000)
    assert fraud[sample.rows].sum() == fraud.sum()
    assert sample.negatives_kept == pytest.approx((1000 - fraud.sum()) / (~fraud).sum())
    assert len(sample.rows) == pytest.approx(1000, rel=0.1)


def test_categories_are_ranked_by_frequency_and_the_rare_share_a_rank() -> None:
    features = pd.DataFrame(
        {"channel": pd.array(["pos", "pos", "pos", "atm", "atm", "odd", None], dtype="string")}
    )
    columns = Columns.learn(features, most=10, least_rows=2)
    assert columns.categories == {"channel": ("pos", "atm")}
    assert columns.codes_of(features)[:, 0].tolist()[:6] == [0, 0, 0, 1, 1, 2]
    assert np.isnan(columns.codes_of(features)[6, 0])


def test_the_linear_matrix_has_numbers_what_is_missing_and_one_hot() -> None:
    features, _, _ = world(6)
    matrix = LinearInputs.learn(features).matrix(features)
    assert matrix.shape == (3000, 2 * 4 + 3 + 1 + 1)
    assert np.isfinite(matrix).all()
    assert matrix[:, 0].std() == pytest.approx(1)
    assert (matrix[:, 8:].sum(axis=1) == 1).all()  # one channel, or rare, or none


@pytest.mark.parametrize(
    ("columns", "place"),
    [
        ({}, "columns.numbers: field required"),
        ({"numbers": ["paid"]}, "columns.categories: field required"),
        ({"numbers": [1], "categories": {}}, "columns.numbers.0: .* string, found 1"),
        ({"numbers": "paid", "categories": {}}, "columns.numbers: .* array, found 'paid'"),
    ],
    ids=["nothing", "no categories", "a number as name", "no list"],
)
def test_a_file_of_other_columns_is_refused(
    columns: dict[str, object], place: str, tmp_path: Path
) -> None:
    (tmp_path / "xgboost.json").write_text(json.dumps({"columns": columns, "settings": {}}))
    with pytest.raises(ValueError, match=f"xgboost.json makes no sense at {place}"):
        XGBoost.from_files(tmp_path)


def test_trees_grown_on_bins_split_the_values_themselves_alike() -> None:
    generator = np.random.default_rng(7)
    values = generator.lognormal(0, 2, (20_000, 3)).astype(np.float32)
    values[generator.random(values.shape) < 0.1] = np.nan
    fraud = (values[:, 0] > np.nanquantile(values[:, 0], 0.998)) | (generator.random(20_000) < 0.01)
    bins = binned(values, fraud)
    counts = [len(np.unique(column[~np.isnan(column)])) for column in bins.T]
    assert 100 < min(counts) <= max(counts) <= MAX_BINS
    assert np.array_equal(np.isnan(bins), np.isnan(values))
    growth = Growth(depth=4, rate=0.1, trees=20)
    settings = growth.booster_settings(seed=1, splits="binned")
    trees = xgboost.train(settings, xgboost.DMatrix(bins, label=fraud), growth.trees)
    on_bins, on_values = (trees.predict(xgboost.DMatrix(inputs)) for inputs in (bins, values))
    assert np.array_equal(on_bins, on_values)
    assert average_precision(fraud, on_values) > 0.15  # the tail above .998 has a bin of its own


def test_columns_that_are_alike_are_solved_as_one_to_the_same_weights() -> None:
    generator = np.random.default_rng(8)
    apart = generator.normal(size=(500, 3))
    matrix = apart[:, [0, 1, 0, 2, 0, 1]]
    fraud = apart[:, 0] + generator.normal(size=500) > 1
    weights, intercept = solve(matrix, fraud, strength=0.1)
    whole = LogisticRegression(C=0.1, solver="newton-cholesky", tol=1e-10).fit(matrix, fraud)
    assert weights == pytest.approx(whole.coef_[0], abs=1e-3)
    assert intercept == pytest.approx(float(whole.intercept_[0]), abs=1e-3)


SOLVED = """
import numpy as np
from pipeline.models.baselines.logistic import solve
apart = np.random.default_rng(9).normal(size=(5000, 30))
print(solve(apart[:, [*range(30), 0, 1]], apart[:, 0] > 1, strength=0.1)[0].tobytes().hex())
"""


def test_the_weights_are_the_same_in_every_process() -> None:
    printed = {
        subprocess.run(
            [sys.executable, "-c", SOLVED],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(printed) == 1
