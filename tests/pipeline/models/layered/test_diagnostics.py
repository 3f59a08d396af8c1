"""Diagnostics say what a network does: a number's response, how active its stages are."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.models.layered.diagnostics import activations, partial_dependence
from pipeline.models.layered.model import Layered
from tests.small_network import encoder, layered, table, training_rows


@pytest.fixture(scope="module")
def model() -> Layered:
    return layered(networks=2)


def usual() -> dict[str, object]:
    """Middle of each number, most frequent category."""
    facts: dict[str, object] = {}
    for group in encoder().groups:
        facts |= {number.name: float(np.expm1(number.middle)) for number in group.numbers}
        facts |= {category.name: category.vocabulary[0] for category in group.categories}
    return facts


def test_a_response_is_what_the_network_says_of_such_rows(model: Layered) -> None:
    told = partial_dependence(model)
    far = told[told["feature"] == "far"]
    assert set(told["stage"]) == {"amount", "place"}
    rows = table([usual(), *(usual() | {"far": value} for value in far["value"])])
    said = model.increments(rows)[:, 1]
    np.testing.assert_allclose(far["increment"], said[1:] - said[0], atol=1e-4)
    assert far["increment"].abs().max() > 0.01


def test_a_network_whose_head_is_dead_is_told_to_be(model: Layered) -> None:
    dead = layered(networks=1)
    with torch.no_grad():
        dead.networks[0].heads[1].hidden.weight.zero_()
        dead.networks[0].heads[1].hidden.bias.fill_(-1.0)
    found = activations(
        {"alive": replace(model, networks=model.networks[:1]), "dead": dead},
        model.tensors(training_rows(300)),
    )
    last = found[found["stage"] == "place"].set_index("model")
    assert last.loc["dead", ["active", "dead"]].tolist() == [0.0, 1.0]
    assert last.loc["alive", "active"] > 0.1
    assert last.loc["alive", "dead"] < 0.9
    assert (found["gain"] > 0).all()


def test_there_is_a_row_for_each_network_and_stage(model: Layered) -> None:
    found = activations({"one": model}, model.tensors(training_rows(20)))
    assert found[["network", "stage"]].values.tolist() == [
        [0, "amount"],
        [0, "place"],
        [1, "amount"],
        [1, "place"],
    ]


def test_a_model_without_numbers_has_no_responses() -> None:
    texts = replace(layered(networks=1), networks=(), encoder=replace(encoder(), groups=()))
    assert partial_dependence(texts).empty
