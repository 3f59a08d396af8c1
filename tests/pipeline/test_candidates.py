"""Models that compete: named correctly, fitted on the same rows, calibrated on accounts they did not learn from."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from features.build import KEYS
from pipeline.calibrate import fit_affine
from pipeline.candidates import as_frame, check_models, fit_candidates
from pipeline.evaluate import BoolArray
from pipeline.history import read_history
from pipeline.layered import Layered
from pipeline.model.train import held_out_accounts
from pipeline.split import labelled_rows
from tests.small_world import AS_OF, IP_DATABASE, QUICK, START, World


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
    frame = as_frame(read_history(world.portfolio, world.lake).features(ip_database=IP_DATABASE, since=AS_OF))
    assert not {*KEYS} & {*frame.columns}
    assert len(frame) == world.unscored.num_rows


def test_only_the_layered_network_has_stages(world: World) -> None:
    candidates = world.trained.candidates
    assert candidates["layered"].layered.stages == ("amount", "clock", "retailer")
    with pytest.raises(TypeError, match="the model logistic has no stages; take layered"):
        _ = candidates["logistic"].layered


def test_a_classical_model_is_calibrated_on_accounts_it_was_refitted_without(world: World) -> None:
    features, y = rows(world)
    found = fit_candidates(["logistic"], features, y, (), seed=1, config=QUICK)["logistic"]
    accounts = features["account_id"].to_numpy(zero_copy_only=False).astype(str)
    apart = held_out_accounts(accounts, share=0.15, seed=1)
    frame = as_frame(features)
    assert not isinstance(found.model, Layered)
    refitted = found.model.refit(frame[~apart], y[~apart]).logit(frame[apart])
    assert found.calibration == fit_affine(refitted, y[apart])
    np.testing.assert_allclose(found.probability(features), found.calibration.probability(found.model.logit(frame)))


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
    return labelled_rows(history.features(ip_database=IP_DATABASE), history.labels, START, AS_OF, known_by=AS_OF)


def test_a_candidate_says_what_it_took(world: World) -> None:
    for name, candidate in world.trained.candidates.items():
        assert candidate.name == name
        assert candidate.seconds > 0
        assert candidate.settings
