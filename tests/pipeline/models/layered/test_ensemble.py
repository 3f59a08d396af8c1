"""Ensemble: many networks trained as one are, taken apart, plain networks with the same mean."""

import numpy as np
import pytest
import torch

from pipeline.evaluation.metrics import average_precision
from pipeline.evaluation.time_split import held_out_accounts
from pipeline.models.layered.ensemble import Members
from pipeline.models.layered.losses import stage_losses
from pipeline.models.layered.model import Layered
from pipeline.models.layered.tensors import Tensors
from pipeline.models.layered.training import TrainConfig
from tests.small_network import GROUPS, SMALL, encoder, network, training_rows


def rows(count: int = 50) -> Tensors:
    return Tensors.of(encoder().encode(training_rows(count, seed=2)), torch.zeros(count))


def members(count: int = 4) -> Members:
    torch.manual_seed(1)
    made = Members(network(), count=count)
    torch.nn.init.normal_(made.weights)
    torch.nn.init.normal_(made.biases)
    return made.eval()


def test_told_apart_they_say_together_what_they_said() -> None:
    made, given = members(), rows()
    with torch.no_grad():
        together = made(*given[:3])
        alone = torch.stack([one(*given[:3]) for one in made.apart()])
    torch.testing.assert_close(alone.mean(dim=0), together, atol=1e-5, rtol=1e-5)
    assert alone.std(dim=0).min() > 0.01, "no two are alike"


def test_in_training_each_is_heard_alone() -> None:
    made, given = members(), rows()
    for part in made.modules():
        part.p = 0.0  # of the dropouts
        part.group_dropout = 0.0
    increments = made.train()(*given[:3])
    assert increments.shape == (50, 4, 2)
    each = [stage_losses(one(*given[:3]), made.base_logit, given.y) for one in made.apart()]
    torch.testing.assert_close(
        stage_losses(increments, made.base_logit, given.y), torch.stack(each).mean(dim=0)
    )


def test_a_training_with_members_gives_that_many_networks_a_seed() -> None:
    features = training_rows(1500, seed=3)
    accounts = np.array(
        [f"a{number}" for number in np.random.default_rng(5).integers(300, size=1500)]
    )
    y = np.log(features["paid"].to_numpy()) + features["far"].to_numpy() / 20 > 6
    config = TrainConfig(seeds=(1, 2), epochs=1, members=3, network=SMALL)
    model = Layered.fit(features, y, accounts, GROUPS, config=config)
    assert len(model.networks) == 6
    apart = [held_out_accounts(accounts, share=config.held_out, seed=seed) for seed in (1, 2)]
    assert model.held_out is not None
    np.testing.assert_array_equal(
        model.held_out.rows, np.concatenate([np.flatnonzero(part) for part in apart])
    )
    first, second = np.split(model.held_out.logit, [apart[0].sum()])
    for logit, part, curve in zip((first, second), apart, model.curves, strict=True):
        assert average_precision(y[part], logit) == pytest.approx(max(curve.precisions), abs=1e-6)
