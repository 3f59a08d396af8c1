"""Settings are searched on later days, within a budget, and a search goes on where it stopped."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation.metrics import average_precision
from pipeline.models.baselines.logistic import Logistic
from pipeline.models.baselines.registry import BASELINES
from pipeline.models.baselines.tuning import Budget, tune
from tests.pipeline.models.baselines.test_baselines import world

ROWS = 2000
DAYS = np.datetime64("2026-01-01") + np.sort(np.random.default_rng(0).integers(0, 60, ROWS))


def tuned(name: str, budget: Budget, *, seed: int = 1) -> dict[str, object]:
    """What a search chose on the world's rows, of 60 days."""
    features, fraud, accounts = world(1, rows=ROWS)
    found = tune(BASELINES[name], features, fraud, accounts, DAYS, seed=seed, budget=budget)
    return dict(found.settings)


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_a_search_gives_a_model_that_is_as_good_as_its_settings(name: str) -> None:
    features, fraud, accounts = world(1, rows=ROWS)
    budget = Budget(trials=2)
    model = tune(BASELINES[name], features, fraud, accounts, DAYS, seed=1, budget=budget)
    assert (model.settings["tuned_on"], model.settings["trials"]) == ("later days", 2)
    fresh, truth, _ = world(2)
    assert average_precision(truth, model.logit(fresh)) > 2 * truth.mean()


def test_a_search_goes_on_where_it_stopped_and_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    whole = tuned("logistic", Budget(trials=6, file=tmp_path / "whole" / "tuning.log"))
    file = tmp_path / "tuning.log"
    tuned("logistic", Budget(trials=3, file=file))
    cut_off = tuned("logistic", Budget(trials=6, file=file))
    assert cut_off == whole
    size = file.stat().st_size
    assert tuned("logistic", Budget(trials=6, file=file)) == whole
    assert file.stat().st_size - size < 1000, "nothing was tried again"


def test_other_rows_or_another_seed_begin_a_search_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "tuning.log"
    one, other = (tuned("logistic", Budget(trials=3, file=file), seed=seed) for seed in (1, 2))
    assert (one["trials"], other["trials"]) == (3, 3)
    assert one["C"] != other["C"]


def test_seconds_end_a_search() -> None:
    found = tuned("logistic", Budget(trials=1000, seconds=1e-9))
    assert found["trials"] == 1


def test_without_moments_that_tell_anything_accounts_are_apart() -> None:
    features, fraud, accounts = world(1, rows=ROWS)
    one_day = np.full(ROWS, np.datetime64("2026-01-01"))
    model = tune(Logistic, features, fraud, accounts, one_day, seed=1, budget=Budget(trials=2))
    assert model.settings["tuned_on"] == "accounts"


@pytest.mark.parametrize("span", ["5", "5 minutes", "0m", ""])
def test_a_budget_that_is_no_span_is_refused(span: str) -> None:
    with pytest.raises(ValueError, match="write it like '1h' or '30d'"):
        Budget.of(span, file=Path("tuning.log"))


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_contributions_add_up_to_the_log_odds(name: str) -> None:
    features, fraud, accounts = world(1, rows=ROWS)
    model = BASELINES[name]().fit(features, fraud, accounts, seed=0)
    fresh = world(2, rows=50)[0]
    rest = model.logit(fresh) - model.contributions(fresh).sum(axis=1)
    np.testing.assert_allclose(rest, np.full(50, rest[0]), atol=1e-3)
    moved = pd.Series(np.abs(model.contributions(fresh)).mean(axis=0), model.columns.names)
    assert moved["constant"] == pytest.approx(0, abs=1e-6)
    assert moved["amount"] > 0.1
