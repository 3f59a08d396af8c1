"""Training: what is not known at its moment stays out, and what it reports is what it did."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sklearn.metrics import average_precision_score

from features.schema import LABELS
from pipeline.evaluation.time_split import labelled_rows
from pipeline.lake.snapshot import NoDataError, last_moment, read_snapshot
from pipeline.lake.tables import Lake
from pipeline.portfolio import Portfolio
from pipeline.train.report import Trained
from pipeline.train.train import groups_in_order, train
from tests.small_world import AS_OF, BUILD_CONFIG, MODELS, QUICK, START, World

TIME = pa.timestamp("us", tz="UTC")


def trained_on(portfolio: Portfolio, lake: Lake) -> Trained:
    return train(
        portfolio,
        lake,
        as_of=AS_OF,
        build_config=BUILD_CONFIG,
        models=MODELS,
        champion="layered",
        config=QUICK,
    )


def lake_of(folder: Path, transactions: pa.Table, labels: pa.Table) -> Lake:
    lake = Lake(str(folder), "world")
    lake.append("transactions", transactions, writer="ingest", number=0)
    lake.append("labels", labels, writer="ingest", number=0)
    return lake


def labels_of(world: World) -> pa.Table:
    stored = world.lake.read("labels")
    assert stored is not None
    return stored


def test_what_is_not_known_at_the_moment_does_not_enter(world: World, tmp_path: Path) -> None:
    """What comes later changes nothing.

    Later rows are made dear, later labels turned round, and every known label is reversed the
    moment after.
    """
    rows, labels = world.transactions, labels_of(world)
    future = pc.greater_equal(rows["as_of"], pa.scalar(AS_OF, TIME))
    amounts = pc.if_else(future, pa.scalar(1e6), rows["amount"])
    rows = rows.set_column(rows.column_names.index("amount"), "amount", amounts)
    late = pc.greater(labels["known_at"], pa.scalar(AS_OF, TIME))
    turned = pc.if_else(late, pc.invert(labels["is_fraud"]), labels["is_fraud"])
    reversed_later = pa.table(
        {
            "transaction_id": labels["transaction_id"],
            "is_fraud": pc.invert(labels["is_fraud"]),
            "known_at": pa.repeat(
                pa.scalar(AS_OF + timedelta(microseconds=1), TIME), labels.num_rows
            ),
            "source": labels["source"],
        },
        schema=LABELS,
    )
    labels = pa.concat_tables(
        [
            labels.set_column(labels.column_names.index("is_fraud"), "is_fraud", turned),
            reversed_later,
        ]
    )
    changed = trained_on(world.portfolio, lake_of(tmp_path, rows, labels))
    unchanged = trained_on(world.portfolio, world.lake)
    assert (changed.train_rows, changed.train_frauds) == (
        unchanged.train_rows,
        unchanged.train_frauds,
    )
    assert changed.metrics == unchanged.metrics
    assert changed.bundle.policy == unchanged.bundle.policy
    features = read_snapshot(world.portfolio, world.lake).features(
        build_config=BUILD_CONFIG, since=AS_OF
    )
    assert np.array_equal(
        changed.bundle.increments(features), unchanged.bundle.increments(features)
    )


def test_a_label_known_at_the_moment_does_enter(world: World, tmp_path: Path) -> None:
    """Labels reversed at the moment the test begins, not after it, are trained on reversed."""
    labels, begins = labels_of(world), world.trained.split.test_from
    turned = pa.table(
        {
            "transaction_id": labels["transaction_id"],
            "is_fraud": pc.invert(labels["is_fraud"]),
            "known_at": pa.repeat(pa.scalar(begins, TIME), labels.num_rows),
            "source": labels["source"],
        },
        schema=LABELS,
    )
    snapshot = read_snapshot(world.portfolio, world.lake, until=AS_OF)
    features, split = snapshot.features(build_config=BUILD_CONFIG), world.trained.split
    both = pa.concat_tables([snapshot.labels, turned])
    _, before = labelled_rows(
        features, snapshot.labels, split.train_from, split.train_until, known_by=begins
    )
    _, same = labelled_rows(
        features,
        both,
        split.train_from,
        split.train_until,
        known_by=begins - timedelta(microseconds=1),
    )
    rows, after = labelled_rows(
        features, both, split.train_from, split.train_until, known_by=begins
    )
    assert np.array_equal(before, same)
    assert after.mean() > 0.5 > before.mean()
    assert rows.num_rows >= len(before)


def test_the_test_weeks_come_after_all_that_was_learned_from(world: World) -> None:
    split = world.trained.split
    assert (
        split.train_from
        < split.train_until
        < split.test_from
        < split.test_until
        < world.trained.as_of
    )
    assert split.test_from - split.train_until == world.portfolio.label_delay
    assert world.trained.bundle.trained_as_of == AS_OF


def test_a_difference_is_the_layered_ap_minus_the_others(world: World) -> None:
    trained = world.trained
    ap = {name: metrics.ap for name, metrics in trained.metrics.items()}
    assert trained.differences["logistic"].difference == pytest.approx(
        ap["layered"] - ap["logistic"]
    )
    table = trained.table
    assert table.loc["logistic", "ap_difference"] == pytest.approx(ap["logistic"] - ap["layered"])
    assert table.loc["logistic", "difference_low"] == -trained.differences["logistic"].high
    assert table["ap_difference"].isna().tolist() == [name == "layered" for name in table.index]
    assert list(table["ap"]) == sorted(ap.values(), reverse=True)
    assert set(table["frauds"]) == {trained.metrics["layered"].frauds}


def test_the_figures_are_those_of_the_test_weeks(world: World) -> None:
    trained = world.trained
    snapshot = read_snapshot(world.portfolio, world.lake, until=AS_OF)
    split = trained.split
    rows, y = labelled_rows(
        snapshot.features(build_config=BUILD_CONFIG),
        snapshot.labels,
        split.test_from,
        split.test_until,
        known_by=AS_OF,
    )
    so_far = trained.bundle.increments(rows).cumsum(axis=1)
    by_hand = {
        name: average_precision_score(y, so_far[:, place])
        for place, name in enumerate(trained.bundle.model.stages)
    }
    assert trained.stage_ap == pytest.approx(by_hand)
    assert trained.stage_ap["classical"] == pytest.approx(trained.metrics["layered"].ap)
    assert (trained.metrics["layered"].rows, trained.metrics["layered"].frauds) == (len(y), y.sum())


def test_the_bundle_keeps_the_review_of_the_portfolio(world: World) -> None:
    policy, review = world.trained.bundle.policy, world.portfolio.review
    assert (policy.capacity_per_day, policy.cost) == (review.capacity_per_day, review.cost)


def test_the_bundle_keeps_confirmed_cases_of_the_rows_trained_on(world: World) -> None:
    cases, split = world.trained.bundle.cases.facts.to_pandas(), world.trained.split
    assert cases["is_fraud"].sum() == world.trained.train_frauds
    assert (~cases["is_fraud"]).sum() == world.trained.train_frauds
    assert cases["event_time"].max() < split.train_until
    known = world.transactions.to_pandas().set_index("transaction_id").loc[cases["transaction_id"]]
    for name in ("event_time", "amount", "currency"):
        assert (cases[name].to_numpy() == known[name].to_numpy()).all()


def test_a_prior_moves_the_bundles_probabilities_and_leaves_the_figures(world: World) -> None:
    """The last stage is calibrated itself, so that the map moves the odds and nothing else."""
    labels = world.portfolio.labels.model_copy(update={"prior": 0.001})
    trained = trained_on(replace(world.portfolio, labels=labels), world.lake)
    rate = trained.train_frauds / trained.train_rows
    moved = np.log(0.001 / 0.999) - np.log(rate / (1 - rate))
    assert trained.bundle.calibration.b == pytest.approx(moved)
    assert trained.metrics["layered"] == world.trained.metrics["layered"]
    assert any("probabilities follow prior = 0.001" in line for line in trained.data)


def test_training_without_the_layered_network_is_refused(world: World) -> None:
    with pytest.raises(
        ValueError, match="logistic alone are compared with nothing; train layered beside them"
    ):
        train(
            world.portfolio,
            world.lake,
            as_of=AS_OF,
            build_config=BUILD_CONFIG,
            models=("logistic",),
        )


def test_it_begins_with_what_a_bundle_knows_and_ends_with_the_portfolios_own_stages(
    world: World,
) -> None:
    bundle = world.trained.bundle
    one_group_less = replace(world.portfolio, order=("amount", "retailer"))
    tuned = train(
        one_group_less,
        world.lake,
        as_of=AS_OF,
        build_config=BUILD_CONFIG,
        models=("layered",),
        config=QUICK,
        start=bundle,
    ).bundle.model
    assert tuned.stages == ("amount", "retailer", "classical")
    known = {code for group in bundle.model.encoder.groups for code in group.numbers}
    assert {code for group in tuned.encoder.groups for code in group.numbers} < known, (
        "coded as where it was learned"
    )


def test_a_bundle_whose_features_mean_something_else_is_refused(world: World) -> None:
    name = next(iter(world.trained.bundle.features))
    other = replace(
        world.trained.bundle, features=dict(world.trained.bundle.features) | {name: "another"}
    )
    with pytest.raises(
        ValueError,
        match=rf"was trained on other features \({name} has changed\); train that portfolio again",
    ):
        train(
            world.portfolio,
            world.lake,
            as_of=AS_OF,
            build_config=BUILD_CONFIG,
            config=QUICK,
            start=other,
        )


def test_a_training_leaves_no_checkpoint_behind(world: World, tmp_path: Path) -> None:
    train(
        world.portfolio,
        world.lake,
        as_of=AS_OF,
        build_config=BUILD_CONFIG,
        models=("layered",),
        config=QUICK,
        resume=tmp_path,
    )
    assert not list(tmp_path.iterdir())


def test_the_order_is_left_to_the_training(world: World) -> None:
    by_information = replace(
        world.portfolio, order=(), is_ordered_by_information=True, prices={"amount": 1.0}
    )
    snapshot = read_snapshot(world.portfolio, world.lake, until=AS_OF)
    split = world.trained.split
    rows, y = labelled_rows(
        snapshot.features(build_config=BUILD_CONFIG),
        snapshot.labels,
        split.train_from,
        split.train_until,
        known_by=split.test_from,
    )
    found = groups_in_order(by_information, snapshot.groups, rows, y, seed=1)
    assert {group.name for group in found} == {group.name for group in snapshot.groups}
    assert found[-1].name == "amount", "the only one that costs money"
    assert groups_in_order(world.portfolio, snapshot.groups, rows, y, seed=1) == snapshot.groups


def test_too_short_a_history_is_refused(world: World) -> None:
    with pytest.raises(
        ValueError,
        match=r"10\.0 days of history are too few to train and judge; at least 28 are needed",
    ):
        train(
            world.portfolio,
            world.lake,
            as_of=START + timedelta(days=10),
            build_config=BUILD_CONFIG,
            config=QUICK,
        )


def test_an_empty_lake_is_refused(world: World, tmp_path: Path) -> None:
    empty = Lake(str(tmp_path), "world")
    with pytest.raises(
        NoDataError, match=r"no transactions before 2025-02-05T00:00:00Z; run strata ingest"
    ):
        trained_on(world.portfolio, empty)
    with pytest.raises(NoDataError, match="has no transactions; run strata ingest"):
        last_moment(world.portfolio, empty)


def test_everything_ingested_lies_before_the_last_moment(world: World) -> None:
    until = last_moment(world.portfolio, world.lake)
    assert (
        read_snapshot(world.portfolio, world.lake, until=until).transactions(["as_of"]).num_rows
        == 4000
    )
    before = read_snapshot(world.portfolio, world.lake, until=until - timedelta(microseconds=1))
    assert before.transactions(["as_of"]).num_rows < 4000


def test_features_of_a_batch_are_those_of_the_whole(world: World) -> None:
    """Their times are UTC on every machine: a day's capacity counts from midnight there."""
    snapshot = read_snapshot(world.portfolio, world.lake)
    whole = snapshot.features(build_config=BUILD_CONFIG).filter(
        pc.field("as_of") >= pa.scalar(AS_OF, TIME)
    )
    batch = snapshot.features(build_config=BUILD_CONFIG, since=AS_OF)
    assert batch.schema.field("as_of").type == TIME
    assert batch["transaction_id"].equals(whole["transaction_id"])
    for name in set(batch.column_names) - {"transaction_id", "account_id", "event_time", "as_of"}:
        if not pa.types.is_string(batch.schema.field(name).type):
            left, right = (
                table[name].to_numpy(zero_copy_only=False).astype(float) for table in (batch, whole)
            )
            np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-9, err_msg=name)
