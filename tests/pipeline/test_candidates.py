"""Models that compete: named correctly, fitted on the same rows, calibrated on accounts they did not learn from."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from features.build import KEYS
from pipeline.baselines import BASELINES, account_folds, as_frame, out_of_fold
from pipeline.calibrate import fit_affine
from pipeline.candidates import check_models, fit_candidates
from pipeline.evaluate import BoolArray
from pipeline.history import read_history
from pipeline.layered import Layered
from pipeline.split import labelled_rows
from tests.small_world import AS_OF, BUILDING, QUICK, START, World


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ([], "no model is named; choose from layered, "),
        (["layered", "magic"], "there is no model 'magic'; choose from layered, "),
        (["xgboost", "layered", "xgboost"], "the model 'xgboost' is named twice; name each once"),
    ],
    ids=["none", "unknown", "twice"],
)
def test_wrong_models_are_refused(names: list[str], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        check_models(names)


def test_classical_models_see_features_and_no_keys(world: World) -> None:
    frame = as_frame(read_history(world.portfolio, world.lake).features(building=BUILDING, since=AS_OF))
    assert not {*KEYS} & {*frame.columns}
    assert len(frame) == world.unscored.num_rows


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
    assert found.calibration == fit_affine(out_of_fold(found.model, frame, y, accounts, seed=1), y)
    np.testing.assert_allclose(found.probability(features), found.calibration.probability(found.model.logit(frame)))


def test_out_of_fold_logits_come_from_fits_without_the_account(world: World) -> None:
    features, y = rows(world)
    frame, accounts = as_frame(features), features["account_id"].to_numpy(zero_copy_only=False).astype(str)
    model = BASELINES["logistic"]().fit(frame, y, accounts, seed=1)
    logits = out_of_fold(model, frame, y, accounts, seed=1)
    folds = account_folds(y, accounts, np.random.default_rng(1))
    assert all(len({*folds[accounts == name]}) == 1 for name in np.unique(accounts[y]))
    apart = folds == 1
    np.testing.assert_allclose(logits[apart], model.refit(frame[~apart], y[~apart]).logit(frame[apart]))


def test_frauds_of_one_account_cannot_be_judged_on_others() -> None:
    frame, y = pd.DataFrame({"paid": np.arange(60.0)}), np.arange(60) < 3
    model = BASELINES["logistic"]().fit(frame, y, np.where(y, "a", "b"), seed=1)
    with pytest.raises(ValueError, match="all frauds are of one account"):
        out_of_fold(model, frame, y, np.where(y, "a", "b"), seed=1)


def test_the_seed_is_the_networks_seed_too(world: World) -> None:
    features, y = rows(world)
    groups = read_history(world.portfolio, world.lake).groups
    one, other = (
        fit_candidates(["layered"], features, y, groups, seed=1, config=replace(QUICK, seeds=(seed,)))["layered"]
        for seed in (1, 2)
    )
    assert not np.allclose(one.logit(features), other.logit(features))


def rows(world: World) -> tuple[pa.Table, BoolArray]:
    history = read_history(world.portfolio, world.lake, until=AS_OF)
    return labelled_rows(history.features(building=BUILDING), history.labels, START, AS_OF, known_by=AS_OF)


def test_a_candidate_says_what_it_took(world: World) -> None:
    for name, candidate in world.trained.candidates.items():
        assert candidate.name == name
        assert candidate.seconds > 0
        assert candidate.settings
