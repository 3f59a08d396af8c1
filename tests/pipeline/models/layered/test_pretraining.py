"""Learning without labels: what is masked cannot be seen, what goes together is learned."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from features.encoder import MISSING, Encoder
from pipeline.models.layered.network import NetworkConfig
from pipeline.models.layered.pretraining import Pretrained, draw_hidden, masked, pretrain
from pipeline.models.layered.tensors import Tensors, increments_of
from pipeline.models.layered.training import TrainConfig, train_layered
from tests.small_network import COLUMNS, GROUPS, SMALL, table, training_rows

QUICK = TrainConfig(seeds=(1,), epochs=2, network=SMALL)
ROWS = 600


def tensors(features: pa.Table, encoder: Encoder) -> Tensors:
    return Tensors.of(encoder.encode(features), torch.zeros(features.num_rows))


def learned(
    features: pa.Table, *, seed: int = 1, config: TrainConfig = QUICK
) -> tuple[Encoder, Pretrained]:
    encoder = Encoder.fit(features, GROUPS)
    return encoder, pretrain(encoder, encoder.encode(features), config=config, seed=seed)


@pytest.mark.parametrize(
    ("fact", "other", "place"),
    [("paid", 9e6, 0), ("far", None, 1), ("channel", "phone", 2), ("country", None, 3)],
    ids=["a number", "a missing number", "a category", "a missing category"],
)
def test_what_is_masked_cannot_be_seen(fact: str, other: object, place: int) -> None:
    encoder, made = learned(training_rows(ROWS))
    row = {"paid": 20.0, "channel": "pos", "far": 3.0, "country": "DE"}
    rows = tensors(table([row, row | {fact: other}]), encoder)
    hidden = torch.zeros(2, 4, dtype=torch.bool)
    one, changed = made.network.states(*rows[:3])[-1]
    assert (one - changed).abs().max() > 0.01
    hidden[:, place] = True
    one, changed = made.network.states(*masked(rows, hidden)[:3])[-1]
    assert (one - changed).abs().max() < 1e-6


def test_a_masked_fact_looks_missing_and_the_others_stay() -> None:
    encoder = Encoder.fit(training_rows(ROWS), GROUPS)
    rows = tensors(training_rows(3, seed=1), encoder)
    hidden = torch.tensor([[True, False, False, True]]).expand(3, 4)  # paid and country
    seen = masked(rows, hidden)
    assert (seen.numbers[:, 0] == 0).all()
    assert seen.missing.tolist() == [[1, 0]] * 3
    assert (seen.codes[:, 1] == MISSING).all()
    assert torch.equal(seen.numbers[:, 1], rows.numbers[:, 1])
    assert torch.equal(seen.codes[:, 0], rows.codes[:, 0])


def test_a_third_is_masked_and_in_half_of_the_rows_a_group() -> None:
    """A fact stays seen with .7 * (1 - .5 / 2): half of the rows lose one of the two groups."""
    torch.manual_seed(1)
    hidden = draw_hidden(20_000, torch.tensor([0, 0, 0, 1, 1, 1]))
    assert hidden.float().mean(dim=0).numpy() == pytest.approx(1 - 0.7 * 0.75, abs=0.02)


def test_numbers_fall_into_the_intervals_of_their_knots() -> None:
    rows = pa.table(
        {"paid": [0.0, 1.0], "channel": ["a", "a"], "far": [1.0, 5.0], "country": ["b", "b"]},
        schema=COLUMNS,
    )
    encoder, made = learned(rows, config=replace(QUICK, epochs=1))
    knots = torch.tensor(encoder.groups[0].numbers[0].knots)
    numbers = torch.tensor(
        [
            [knots[0] - 1, 0],
            [knots[0], 0],
            [knots[1], 0],
            [knots[-1], 0],
            [knots[-1] + 9, 0],
            [0, 0],
        ]
    )
    missing = torch.tensor([[0, 0]] * 5 + [[1, 0]])
    last = len(knots) - 1
    assert made.decoders.classes(numbers, missing)[:, 0].tolist() == [0, 0, 1, last, last, last + 1]


def test_probabilities_of_a_facts_classes_sum_to_one() -> None:
    encoder, made = learned(training_rows(ROWS))
    numbers, categories = made.decoders(
        made.network.states(*tensors(training_rows(5), encoder)[:3])[-1]
    )
    for told in (numbers, *categories):
        np.testing.assert_allclose(told.exp().sum(dim=-1).detach(), 1, atol=1e-5)


def test_the_same_seed_learns_the_same_and_leaves_the_callers_random_numbers_alone() -> None:
    before = torch.random.get_rng_state()
    (_, one), (_, other) = (learned(training_rows(ROWS), seed=seed) for seed in (1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(3)
    _, same = learned(training_rows(ROWS))
    assert one.losses == same.losses != other.losses
    for name, weights in one.network.state_dict().items():
        assert torch.equal(weights, same.network.state_dict()[name])


def test_it_learns_what_goes_together() -> None:
    """The country tells the channel, and nothing else does: unmasked country, masked channel."""
    rows = training_rows(2000)
    channel = np.where(rows["country"].to_numpy(zero_copy_only=False) == "DE", "online", "pos")
    config = replace(
        QUICK, epochs=60, network=NetworkConfig(width=16, head_width=8, group_dropout=0.0)
    )
    encoder, made = learned(rows.set_column(1, "channel", pa.array(channel)), config=config)
    asked = tensors(
        table(
            [
                {"paid": 20.0, "channel": "online", "far": 9.0, "country": name}
                for name in ("DE", "FR")
            ]
        ),
        encoder,
    )
    hidden = torch.tensor([[False, False, True, False]]).expand(2, 4)
    usual, odd = made.decoders.surprise(made.network.states(*masked(asked, hidden)[:3])[-1], asked)[
        :, 2
    ]
    assert usual < 0.2
    assert odd > 2


def test_training_with_labels_starts_from_it() -> None:
    rows = training_rows(ROWS)
    encoder, made = learned(rows)
    fraud = np.asarray(rows["paid"].to_numpy() > 60)
    accounts = np.array([f"a{row % 60}" for row in range(ROWS)])
    assert (increments_of(made.network, tensors(rows, encoder)) == 0).all()
    start = made.at_rate(0.2)
    assert float(start.base_logit) == pytest.approx(np.log(0.25))
    before = {name: weights.clone() for name, weights in start.state_dict().items()}
    (taught,) = train_layered(
        encoder, encoder.encode(rows), fraud, accounts, config=QUICK, start=[start]
    )
    assert np.abs(increments_of(taught.networks[0], tensors(rows, encoder))).max() > 0.01
    assert all(torch.equal(weights, before[name]) for name, weights in start.state_dict().items())


def test_no_rows_are_refused() -> None:
    encoder = Encoder.fit(training_rows(ROWS), GROUPS)
    with pytest.raises(
        ValueError, match="there are 0 rows to learn from without labels; take a longer span"
    ):
        pretrain(encoder, encoder.encode(training_rows(ROWS).slice(0, 0)), config=QUICK, seed=1)


@pytest.mark.parametrize("rate", [0.0, 1.0, float("nan")])
def test_a_rate_without_log_odds_is_refused(rate: float) -> None:
    _, made = learned(training_rows(100), config=replace(QUICK, epochs=1))
    with pytest.raises(
        ValueError,
        match=f"the rate of frauds must lie between 0 and 1, not be {rate}; "
        "take it from the labels",
    ):
        made.at_rate(rate)
