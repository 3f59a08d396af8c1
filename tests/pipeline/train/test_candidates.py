"""Models that compete: fitted on the same rows, calibrated on accounts they did not learn from."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from features.build import KEYS, shown_features
from pipeline.arrays import BoolArray
from pipeline.evaluation.time_split import labelled_rows
from pipeline.lake.snapshot import read_snapshot
from pipeline.models.baselines.columns import as_frame
from pipeline.models.baselines.folds import account_folds, out_of_fold
from pipeline.models.baselines.logistic import Logistic
from pipeline.models.baselines.registry import BASELINES
from pipeline.models.calibration import fit_platt_scaling
from pipeline.models.layered.model import Layered
from pipeline.models.layered.training import TrainConfig
from pipeline.train.candidates import check_models, fit_candidates
from pipeline.train.group_order import of_groups
from tests.small_network import GROUPS, SMALL, training_rows
from tests.small_world import AS_OF, BUILD_CONFIG, QUICK, START, World


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "no model is named; choose from layered, "),
        (["layered", "magic"], "there is no model 'magic'; choose from layered, "),
        (["xgboost", "layered", "xgboost"], "the model 'xgboost' is named twice; name each once"),
    ],
    ids=["none", "unknown", "twice"],
)
def test_wrong_models_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_models(names)


def test_classical_models_see_features_and_no_keys(world: World) -> None:
    frame = as_frame(
        read_snapshot(world.portfolio, world.lake).features(build_config=BUILD_CONFIG, since=AS_OF)
    )
    assert not {*KEYS} & {*frame.columns}
    assert len(frame) == world.unscored.num_rows


def test_no_model_learns_from_a_group_that_is_left_out(world: World) -> None:
    features, y = rows(world)
    groups = [
        one for one in read_snapshot(world.portfolio, world.lake).groups if one.name != "clock"
    ]
    given = of_groups(features, groups)
    assert {*KEYS} < {*given.column_names} < {*features.column_names}
    found = fit_candidates(["layered", "logistic"], given, y, groups, seed=1, config=QUICK)
    assert found["layered"].layered.stages == ("amount", "retailer", "classical")
    model = found["logistic"].model
    assert isinstance(model, Logistic)
    shown = {one.name for one in shown_features(groups)}
    assert {*model.columns.names} <= shown
    np.testing.assert_array_equal(found["logistic"].logit(features), found["logistic"].logit(given))


def test_only_the_layered_network_has_stages(world: World) -> None:
    candidates = world.trained.candidates
    assert candidates["layered"].layered.stages == ("amount", "clock", "retailer", "classical")
    with pytest.raises(TypeError, match="the model logistic has no stages; take layered"):
        _ = candidates["logistic"].layered


def test_a_classical_model_is_calibrated_on_accounts_it_was_refitted_without(world: World) -> None:
    features, y = rows(world)
    found = fit_candidates(["logistic"], features, y, (), seed=1, config=QUICK)["logistic"]
    accounts = features["account_id"].to_numpy(zero_copy_only=False).astype(str)
    frame = as_frame(features)
    assert not isinstance(found.model, Layered)
    assert found.calibration == fit_platt_scaling(
        out_of_fold(found.model, frame, y, accounts, seed=1), y
    )
    np.testing.assert_allclose(
        found.probability(features), found.calibration.probability(found.model.logit(frame))
    )


def test_out_of_fold_logits_come_from_fits_without_the_account(world: World) -> None:
    features, y = rows(world)
    frame, accounts = (
        as_frame(features),
        features["account_id"].to_numpy(zero_copy_only=False).astype(str),
    )
    model = BASELINES["logistic"]().fit(frame, y, accounts, seed=1)
    logits = out_of_fold(model, frame, y, accounts, seed=1)
    folds = account_folds(y, accounts, np.random.default_rng(1))
    assert all(len({*folds[accounts == name]}) == 1 for name in np.unique(accounts[y]))
    apart = folds == 1
    np.testing.assert_allclose(
        logits[apart], model.refit(frame[~apart], y[~apart]).logit(frame[apart])
    )


def test_frauds_of_one_account_cannot_be_judged_on_others() -> None:
    frame, y = pd.DataFrame({"paid": np.arange(60.0)}), np.arange(60) < 3
    model = BASELINES["logistic"]().fit(frame, y, np.where(y, "a", "b"), seed=1)
    with pytest.raises(ValueError, match="all frauds are of one account"):
        out_of_fold(model, frame, y, np.where(y, "a", "b"), seed=1)


def test_the_seed_is_the_networks_seed_too(world: World) -> None:
    features, y = rows(world)
    groups = read_snapshot(world.portfolio, world.lake).groups
    one, other = (
        fit_candidates(
            ["layered"], features, y, groups, seed=1, config=replace(QUICK, seeds=(seed,))
        )["layered"]
        for seed in (1, 2)
    )
    assert not np.allclose(one.logit(features), other.logit(features))


def rows(world: World) -> tuple[pa.Table, BoolArray]:
    snapshot = read_snapshot(world.portfolio, world.lake, until=AS_OF)
    return labelled_rows(
        snapshot.features(build_config=BUILD_CONFIG), snapshot.labels, START, AS_OF, known_by=AS_OF
    )


def test_a_candidate_says_what_it_took(world: World) -> None:
    for name, candidate in world.trained.candidates.items():
        assert candidate.name == name
        assert candidate.seconds > 0
        assert candidate.settings


ROWS = 1500
MANY = TrainConfig(seeds=(1, 2, 3), epochs=1, network=SMALL)


def small(column: str, values: pa.Array) -> pa.Table:
    rows = training_rows(ROWS, seed=3).append_column(
        "account_id", pa.array([f"a{row % 300}" for row in range(ROWS)])
    )
    return rows.set_column(rows.column_names.index(column), column, values) if column else rows


@pytest.mark.parametrize(
    ("frauds", "message"),
    [
        (
            range(0),
            "both frauds and legitimate rows are needed, found 1500 rows, all legitimate; "
            "take a longer period",
        ),
        (
            range(ROWS),
            "both frauds and legitimate rows are needed, found 1500 rows, all fraud; "
            "take a longer period",
        ),
        (
            (3, 700, 901),
            "rows to stop the training by have 0 frauds; both classes are needed: "
            "take a longer span or more acc",
        ),
        (
            range(7, ROWS, 300),
            "all frauds are of one account, and no model can be judged on others; "
            "take a longer span",
        ),
    ],
    ids=["one class", "the other class", "three frauds", "one account"],
)
def test_too_few_frauds_are_refused(frauds: Iterable[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_candidates(
            ["layered"],
            small("", pa.nulls(0)),
            np.isin(range(ROWS), [*frauds]),
            GROUPS,
            seed=1,
            config=MANY,
        )


@pytest.mark.parametrize(
    "values",
    [
        pa.array(np.full(ROWS, 5.0)),
        pa.nulls(ROWS, pa.float64()),
        pa.array(np.where(np.arange(ROWS) % 5, 3.0, np.nan)),
    ],
    ids=["constant", "never there", "not a number"],
)
def test_a_number_that_tells_nothing_does_no_harm(values: pa.Array) -> None:
    rows, y = small("far", values), np.arange(ROWS) % 20 == 7
    found = fit_candidates(["layered"], rows, y, GROUPS, seed=1, config=replace(MANY, seeds=(1,)))[
        "layered"
    ]
    assert np.isfinite(found.probability(rows)).all()


def test_an_infinite_feature_is_refused() -> None:
    rows = small("far", pa.array(np.where(np.arange(ROWS) == 5, np.inf, 1.0)))
    with pytest.raises(
        ValueError, match="the features hold infinite numbers in far; give a missing value instead"
    ):
        fit_candidates(["layered"], rows, np.arange(ROWS) % 20 == 7, GROUPS, seed=1, config=MANY)
