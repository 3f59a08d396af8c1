"""Transfer: what a network knows of facts that another portfolio has too stays known.

What is gone counts as missing.
"""

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from features.declarations import Group, fact
from features.encoder import Encoder
from pipeline.evaluation.metrics import average_precision
from pipeline.models.layered.model import Layered
from pipeline.models.layered.network import LayeredNetwork
from pipeline.models.layered.tensors import Tensors, increments_of
from pipeline.models.layered.training import TrainConfig
from pipeline.models.layered.transfer import transfer_encoder, transfer_weights
from tests.small_network import GROUPS, SMALL, encoder, layered, network, training_rows

AMOUNT, PLACE = GROUPS
FACTS = {feature.name: feature for group in GROUPS for feature in group.features}
OTHER = fact("age", "age", "age")


def group(name: str, *facts: str) -> Group:
    return Group(
        name=name,
        meaning="",
        needs=(),
        features=tuple(OTHER if one == "age" else FACTS[one] for one in facts),
    )


def rows(count: int = 60) -> pa.Table:
    return training_rows(count, seed=9).append_column(
        "age", pa.array(np.random.default_rng(1).normal(size=count))
    )


def said(model: LayeredNetwork, by: Encoder, table: pa.Table) -> np.ndarray:
    return increments_of(model, Tensors.of(by.encode(table), torch.zeros(table.num_rows)))


@settings(deadline=None, max_examples=20)
@given(
    st.sets(st.sampled_from(["paid", "channel", "far", "country"])), st.booleans(), st.booleans()
)
def test_facts_that_are_gone_count_as_missing_and_new_ones_say_nothing(
    gone: set[str], new: bool, turned: bool
) -> None:
    """Both portfolios have both groups; the order of facts within a group means nothing."""
    table = rows()
    left = {one.name: [f.name for f in one.features if f.name not in gone] for one in GROUPS}
    wanted = [group(name, *(reversed(facts) if turned else facts)) for name, facts in left.items()]
    if new:
        wanted[1] = Group(name="place", meaning="", needs=(), features=(OTHER, *wanted[1].features))
    # a group without any fact known to both says another thing: absent
    for one, other in zip(GROUPS, wanted, strict=True):
        if not {f.name for f in one.features} & {f.name for f in other.features}:
            return
    by = transfer_encoder(encoder(), Encoder.fit(table, wanted))
    grown = transfer_weights(network(), encoder(), by, shape=SMALL, seed=0)
    nulls = {name: pa.nulls(table.num_rows, table.schema.field(name).type) for name in gone}
    lacking = pa.table({name: nulls.get(name, table[name]) for name in table.column_names})
    np.testing.assert_allclose(
        said(grown, by, table), said(network(), encoder(), lacking), atol=1e-5
    )


def test_a_new_group_stands_behind_those_known_and_says_nothing_yet() -> None:
    table = rows()
    by = transfer_encoder(encoder(), Encoder.fit(table, [group("person", "age"), PLACE, AMOUNT]))
    assert [one.name for one in by.groups] == ["amount", "place", "person"]
    grown = said(transfer_weights(network(), encoder(), by, shape=SMALL, seed=0), by, table)
    np.testing.assert_allclose(grown[:, :2], said(network(), encoder(), table), atol=1e-6)
    assert (grown[:, 2] == 0).all()


def test_a_group_that_is_gone_is_left_out() -> None:
    by = transfer_encoder(encoder(), Encoder.fit(rows(), [AMOUNT]))
    grown = said(transfer_weights(network(), encoder(), by, shape=SMALL, seed=0), by, rows())
    np.testing.assert_allclose(grown, said(network(), encoder(), rows())[:, :1], atol=1e-6)


def test_portfolios_without_a_group_in_common_are_refused() -> None:
    by = Encoder.fit(rows(), [group("person", "age")])
    with pytest.raises(
        ValueError,
        match="the groups person share none with the network's amount, place, or in another order",
    ):
        transfer_weights(network(), encoder(), by, shape=SMALL, seed=0)


def test_a_few_frauds_are_enough_for_who_knows_the_facts_already() -> None:
    def fraud(table: pa.Table) -> np.ndarray:
        return np.log(table["paid"].to_numpy()) + table["far"].to_numpy() / 20 > 6

    def accounts(table: pa.Table) -> np.ndarray:
        return np.array([f"a{row % 300}" for row in range(table.num_rows)])

    many, few, judged = (
        training_rows(4000, seed=1),
        training_rows(600, seed=2),
        training_rows(3000, seed=3),
    )
    config = TrainConfig(seeds=(1,), epochs=10, network=SMALL)
    source = Layered.fit(many, fraud(many), accounts(many), GROUPS, config=config)
    alone = Layered.fit(few, fraud(few), accounts(few), GROUPS, config=config)
    tuned = source.transferred(few, fraud(few), accounts(few), GROUPS, config=config)
    found = {
        name: average_precision(fraud(judged), model.logit(judged))
        for name, model in (("tuned", tuned), ("alone", alone))
    }
    assert found["tuned"] > found["alone"] + 0.02
    assert tuned.base_logit == pytest.approx(
        np.log(fraud(few).mean() / (1 - fraud(few).mean())), rel=1e-5
    )


def test_what_is_transferred_from_is_not_changed() -> None:
    source, table = layered(networks=1), rows(600)
    before = source.logit(table)
    y = np.random.default_rng(0).random(600) < 0.1
    source.transferred(
        table,
        y,
        np.array([f"a{row % 99}" for row in range(600)]),
        GROUPS,
        config=TrainConfig(seeds=(4,), epochs=1),
    )
    assert (source.logit(table) == before).all()
