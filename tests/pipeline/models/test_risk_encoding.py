"""How often a category's values were fraud: told of a row by what was known before it, alone."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.encoder import Encoder
from pipeline.arrays import BoolArray, FloatArray
from pipeline.explanation.reasons import fact_attributions, reasons
from pipeline.export.export import export
from pipeline.export.scorer import Scorer
from pipeline.models.baselines.columns import as_frame
from pipeline.models.baselines.registry import BASELINES
from pipeline.models.calibration import PlattScaling
from pipeline.models.layered.model import STAGE, Layered
from pipeline.models.layered.stacking import Stacking
from pipeline.models.layered.training import TrainConfig
from pipeline.models.one_stage import OneStage, read_model
from pipeline.models.risk_encoding import NO_RISK, fit_risk, out_of_fold, with_risk
from pipeline.policy.selection import Policy
from pipeline.registry.bundle import Bundle
from pipeline.train.candidates import fit_candidates
from pipeline.train.group_order import chosen_risk
from tests.small_network import GROUPS, SMALL, keyed_rows, table

COUNTRIES = ("DE", "FR", "IS", "NO")
DELAY = timedelta(minutes=60)
QUICK = TrainConfig(seeds=(1,), epochs=2, network=SMALL)


def rows_of(places: list[int] | FloatArray) -> pa.Table:
    """Keyed rows, one a minute, with countries by their places."""
    rows = keyed_rows(len(places))
    countries = pa.array([COUNTRIES[int(place)] for place in places])
    return rows.set_column(rows.column_names.index("country"), "country", countries)


def risky(rows: int = 3000, *, seed: int = 1) -> tuple[pa.Table, BoolArray]:
    """Days of rows with 200 shops, a tenth of which are where most of the fraud is."""
    random = np.random.default_rng(seed)
    shops = random.integers(0, 200, rows)
    fraud = random.random(rows) < np.where(shops % 10 == 0, 0.6, 0.02)
    start = datetime(2025, 1, 1, tzinfo=UTC)
    moments = [start + timedelta(minutes=20 * row) for row in range(rows)]
    given_rows = keyed_rows(rows)
    for name, values in {
        "country": pa.array([f"shop {shop}" for shop in shops]),
        "as_of": pa.array(moments, pa.timestamp("us", tz="UTC")),
    }.items():
        given_rows = given_rows.set_column(given_rows.column_names.index(name), name, values)
    return given_rows, fraud


def told(rows: pa.Table, fraud: BoolArray, *, delay: timedelta = DELAY) -> FloatArray:
    """What each row is told of its country."""
    risk = fit_risk(rows, fraud, GROUPS, shrinkage=10)
    column = out_of_fold(rows, fraud, risk, label_delay=delay)["risk_of_country"]
    return np.asarray(column.to_numpy())


def test_log_odds_are_shrunk_to_the_base_rate() -> None:
    """Of 40 rows 10 are frauds: all of the ten Icelandic ones, and shrunk to a quarter."""
    places = np.repeat([0, 2, 1, 3], 10)
    rows, fraud = rows_of(places), places == 2
    risk = fit_risk(rows, fraud, GROUPS, shrinkage=4)
    (country,) = [one for one in risk.categories if one.name == "country"]
    found = dict(zip(country.values, country.log_odds, strict=True))
    assert found["IS"] == pytest.approx(np.log((10 + 1) / 3) - np.log(1 / 3))
    assert found["DE"] == pytest.approx(np.log(1 / (10 + 3)) - np.log(1 / 3))
    asked = risk.added_to(table([{"country": "IS"}, {"country": "never seen"}, {}]))
    assert asked["risk_of_country"].to_pylist() == [found["IS"], 0.0, None]
    assert risk.added_to(asked) is asked


def test_a_category_of_two_values_and_a_value_met_once_are_not_encoded() -> None:
    places = [0, 1, 2, 3] * 50 + [0, 1, 2, 0]
    rows, fraud = rows_of(places), np.arange(204) % 5 == 0
    once = rows.set_column(
        rows.column_names.index("country"),
        "country",
        pa.array(["once", *rows["country"].to_pylist()[1:]]),
    )
    risk = fit_risk(once, fraud, GROUPS, shrinkage=10)
    assert [one.name for one in risk.categories] == ["country"]
    assert set(risk.categories[0].values) == set(COUNTRIES)


@given(
    places=st.lists(st.integers(0, 3), min_size=200, max_size=300),
    seed=st.integers(0, 99),
    row=st.integers(0, 199),
    minutes=st.integers(0, 90),
)
def test_no_row_is_told_its_own_label_nor_one_that_was_not_known_yet(
    places: list[int], seed: int, row: int, minutes: int
) -> None:
    """Every label that was not known by the row's moment is turned round: it is told the same."""
    rows, delay = rows_of([*range(len(COUNTRIES)), *places]), minutes
    random = np.random.default_rng(seed)
    fraud = random.random(rows.num_rows) < 0.3
    as_of = rows["as_of"].to_numpy()
    unknown = as_of + np.timedelta64(delay, "m") >= as_of[row]
    before = told(rows, fraud, delay=timedelta(minutes=delay))[row]
    after = told(rows, fraud ^ unknown, delay=timedelta(minutes=delay))[row]
    assert before == after


def test_it_is_taken_where_later_days_bear_it_out() -> None:
    rows, fraud = risky()
    risk = chosen_risk(rows, fraud, GROUPS, label_delay=timedelta(days=1), seed=1)
    assert [one.name for one in risk.categories] == ["country"]
    assert [group.features[-1].name for group in with_risk(GROUPS, risk)] == [
        "channel",
        "risk_of_country",
    ]
    shuffled = np.random.default_rng(2).permutation(fraud)
    assert chosen_risk(rows, shuffled, GROUPS, label_delay=timedelta(), seed=1) == NO_RISK
    without_time = rows.drop_columns(["as_of"])
    assert chosen_risk(without_time, fraud, GROUPS, label_delay=timedelta(), seed=1) == NO_RISK


@pytest.fixture(scope="module")
def champions() -> dict[str, tuple[Layered | OneStage, pa.Table]]:
    """Network and boosting that were told of the risk, and rows that neither has seen."""
    rows, fraud = risky()
    names = ["layered", "xgboost", "logistic"]
    found = fit_candidates(names, rows, fraud, GROUPS, seed=1, config=QUICK)
    later, _ = risky(seed=2)
    alone = {
        name: OneStage.of(found[name].model, rows, fraud, GROUPS, found[name].risk)  # type: ignore[arg-type]
        for name in names[1:]
    }
    every = {"layered": found["layered"].layered, **alone}
    np.testing.assert_array_equal(found["xgboost"].logit(later), alone["xgboost"].logit(later))
    return {name: (model, later) for name, model in every.items()}


@pytest.mark.parametrize("name", ["layered", "xgboost", "logistic"])
def test_a_model_tells_rows_itself_scores_alike_from_files_and_exported(
    champions: dict[str, tuple[Layered | OneStage, pa.Table]], tmp_path: Path, name: str
) -> None:
    model, later = champions[name]
    assert [one.name for one in model.risk.categories] == ["country"]
    logit, increments = model.score(later)
    np.testing.assert_allclose(model.base_logit + sum(increments.values()), logit, atol=1e-9)
    model.to_files(tmp_path)
    np.testing.assert_array_equal(read_model(tmp_path).logit(later), logit)
    bundle = Bundle(
        portfolio="world",
        model=model,
        calibration=PlattScaling(),
        policy=Policy(capacity_per_day=7, cost=2.5, least_gain=1.25),
        feature_digest="",
        features={},
        ip_databases={},
        trained_as_of=datetime(2025, 2, 5, tzinfo=UTC),
        metrics={},
    )
    scorer = Scorer(export(bundle, tmp_path / "exported"))
    asked = table([{"paid": 3.0, "country": "shop 10"}, {"country": "never seen"}, {}])
    for some in (later.slice(0, 200), asked):
        found = scorer.score(some.to_pydict())
        np.testing.assert_allclose(found.logit, model.logit(some), atol=1e-5)
        np.testing.assert_allclose(found.increments, model.increments(some), atol=1e-5)


@pytest.mark.parametrize("name", ["layered", "xgboost"])
def test_the_risk_of_a_value_is_a_reason_of_its_category(
    champions: dict[str, tuple[Layered | OneStage, pa.Table]], name: str
) -> None:
    model, later = champions[name]
    some = later.slice(0, 50)
    increments = {key.removeprefix(STAGE): value for key, value in model.score(some)[1].items()}
    shares = fact_attributions(model, some, increments)
    assert set(shares) == {"paid", "channel", "far", "country"}
    assert np.ptp(shares["country"]) > np.ptp(shares["channel"])
    told_rows = reasons(some, increments, model.encoder, GROUPS, attributions=shares)
    words = {fact.name for row in told_rows for stage in row for fact in stage.facts}
    assert "country" in words
    assert not [word for word in words if word.startswith("risk_of_")]


def test_an_absent_category_is_named() -> None:
    rows, fraud = risky()
    risk = fit_risk(rows, fraud, GROUPS, shrinkage=10)
    with pytest.raises(ValueError, match="the features lack country; build them with the groups"):
        risk.added_to(rows.drop_columns(["country"]))


def test_a_stacked_opinion_is_told_too() -> None:
    rows, fraud = risky(2000)
    risk = fit_risk(rows, fraud, GROUPS, shrinkage=10)
    wide = out_of_fold(rows, fraud, risk, label_delay=timedelta())
    accounts = np.arange(rows.num_rows).astype(str)
    trees = BASELINES["xgboost"]().fit(as_frame(wide), fraud, accounts, seed=1)
    groups = with_risk(GROUPS, risk)
    encoder = Encoder.fit(wide, groups)
    network = Layered.fit(wide, fraud, accounts, groups, config=QUICK)
    whole = replace(network, risk=risk, stacking=Stacking(model=trees, weight=1.0))
    later, _ = risky(seed=2)
    assert "risk_of_country" in encoder.names
    expected = trees.logit(as_frame(risk.added_to(later)))
    np.testing.assert_allclose(whole.logit(later), expected, atol=1e-5)
