"""Attributions add up to their stage's increment, and a fact that says nothing has none."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from pipeline.explanation.integrated_gradients import stage_attributions
from pipeline.models.layered.network import LayeredNetwork
from pipeline.models.layered.tensors import Tensors, increments_of
from tests.small_network import encoder, network, table, training_rows

USUAL = {
    "paid": float(np.median(training_rows()["paid"].to_numpy())),
    "far": float(np.median(training_rows()["far"].to_numpy())),
}


def rows_of(features: pa.Table) -> Tensors:
    return Tensors.of(encoder().encode(features), torch.zeros(features.num_rows))


def frequent(name: str) -> str:
    return next(
        c.vocabulary[0] for group in encoder().groups for c in group.categories if c.name == name
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_shares_and_the_rest_add_up_to_the_increments(seed: int) -> None:
    one, rows = network(seed=seed), rows_of(training_rows(200, seed=9))
    increments = increments_of(one, rows)
    for stage, found in enumerate(stage_attributions(one, rows)):
        assert found.facts.shape == (200, 2)
        np.testing.assert_allclose(
            (found.facts.sum(dim=1) + found.rest).numpy(), increments[:, stage], atol=1e-5
        )


def test_of_usual_facts_all_is_rest() -> None:
    one = network()
    rows = rows_of(
        table([USUAL | {"channel": frequent("channel"), "country": frequent("country")}])
    )
    for stage, found in enumerate(stage_attributions(one, rows)):
        assert found.facts.abs().max() < 1e-3
        assert float(found.rest[0]) == pytest.approx(increments_of(one, rows)[0, stage], abs=1e-3)


def test_a_group_without_facts_has_no_shares() -> None:
    one, rows = network(), rows_of(table([{"paid": 5.0}]))
    found = stage_attributions(one, rows)[1]
    assert found.facts.abs().max() == 0
    assert float(found.rest[0]) == pytest.approx(increments_of(one, rows)[0, 1], abs=1e-6)


def deaf_to_distance() -> LayeredNetwork:
    """A network whose second group has no weight on anything but its category."""
    one = network()
    with torch.no_grad():
        one.get_parameter("facts.1.linear.weight")[:, 8:] = 0
    return one


def test_a_fact_that_the_stage_does_not_hear_has_no_share() -> None:
    rows = rows_of(
        table(
            [
                {"paid": 5.0, "far": 5000.0, "country": "FR"},
                {"paid": 5.0, "far": None, "country": "XX"},
            ]
        )
    )
    found = stage_attributions(deaf_to_distance(), rows)[1]
    assert found.facts[:, 0].abs().max() == 0
    assert found.facts[1, 1].abs() > 0


def test_a_missing_number_has_a_share_of_its_own() -> None:
    rows = rows_of(table([{"paid": None, "channel": frequent("channel")}]))
    found = stage_attributions(network(), rows)[0]
    assert found.facts[0, 0].abs() > 0
    assert found.facts[0, 1].abs() == 0
