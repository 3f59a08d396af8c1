"""Grafting: a new group changes no score until it has learned, and leaves frozen stages alone."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from features.declarations import Group, fact
from pipeline.evaluation.metrics import average_precision
from pipeline.models.layered.model import Layered
from pipeline.models.layered.training import TrainConfig
from tests.small_network import GROUPS, SMALL, layered, training_rows

NEW = Group(name="credit", meaning="", needs=(), features=(fact("debt", "debt", "debt"),))
CONFIG = TrainConfig(seeds=(1,), epochs=24, network=SMALL)
ROWS = 3000


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    """Rows of which the new group alone tells the frauds."""
    return training_rows(ROWS, seed=3).append_column(
        "debt", pa.array(np.random.default_rng(4).normal(size=ROWS))
    )


@pytest.fixture(scope="module")
def fraud(rows: pa.Table) -> np.ndarray:
    return np.asarray(rows["debt"].to_numpy() > 1.5)


@pytest.fixture(scope="module")
def accounts() -> np.ndarray:
    return np.array([f"a{row % 300}" for row in range(ROWS)])


def test_before_it_has_learned_a_new_group_changes_no_score(rows: pa.Table) -> None:
    model = layered(networks=1)
    grown = model.grafted(rows, (*GROUPS, NEW))
    assert grown.stages == ("amount", "place", "credit")
    np.testing.assert_allclose(grown.logit(rows), model.logit(rows), atol=1e-6)
    assert (grown.increments(rows)[:, 2] == 0).all()


@pytest.mark.parametrize("freeze", [True, False])
def test_it_learns_and_frozen_stages_stay_as_they_were(
    rows: pa.Table, fraud: np.ndarray, accounts: np.ndarray, freeze: bool
) -> None:
    model = layered(networks=1)
    grown = model.grafted(rows, (*GROUPS, NEW), freeze=freeze).trained_further(
        rows, fraud, accounts, config=CONFIG
    )
    assert (
        average_precision(fraud, grown.logit(rows))
        > average_precision(fraud, model.logit(rows)) + 0.05
    )
    kept = np.abs(grown.increments(rows)[:, :2] - model.increments(rows)).max()
    assert (kept < 1e-6) == freeze


def test_what_it_was_given_is_not_changed(
    rows: pa.Table, fraud: np.ndarray, accounts: np.ndarray
) -> None:
    grown = layered(networks=1).grafted(rows, (*GROUPS, NEW), freeze=False)
    before = grown.logit(rows)
    grown.trained_further(rows, fraud, accounts, config=replace(CONFIG, epochs=1))
    assert (grown.logit(rows) == before).all()


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (
            (GROUPS[1], GROUPS[0], NEW),
            "the groups place, amount, credit are not the network's own and new ones behind them; "
            "name amount, place in this",
        ),
        (GROUPS, "the groups amount, place are not the network's own and new ones behind them"),
    ],
    ids=["another order", "no new group"],
)
def test_groups_that_are_no_graft_are_refused(
    rows: pa.Table, groups: tuple[Group, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        layered(networks=1).grafted(rows, groups)


def test_a_network_without_a_seed_is_refused(
    rows: pa.Table, fraud: np.ndarray, accounts: np.ndarray
) -> None:
    model: Layered = layered(networks=3)
    with pytest.raises(
        ValueError,
        match="there are 3 networks to start from, and the seeds are 1; give a seed for each",
    ):
        model.trained_further(rows, fraud, accounts, config=CONFIG)
