"""Training: repeatable, fair to held-out accounts, and able to learn what is there alone."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.metrics import average_precision
from pipeline.evaluation.time_split import held_out_accounts
from pipeline.models.layered.model import Layered
from pipeline.models.layered.network import LayeredNetwork
from pipeline.models.layered.tensors import Batches, Tensors, increments_of
from pipeline.models.layered.training import (
    LayeredModule,
    TrainConfig,
    train_layered,
)
from tests.small_network import GROUPS, SMALL, encoder, training_rows

QUICK = TrainConfig(seeds=(1,), epochs=2, network=SMALL)
ROWS = 3000
Accounts = npt.NDArray[np.str_]
Labels = npt.NDArray[np.bool_]


@pytest.fixture(scope="module")
def features() -> pa.Table:
    return training_rows(ROWS, seed=3)


@pytest.fixture(scope="module")
def accounts() -> Accounts:
    return np.array([f"a{number}" for number in np.random.default_rng(5).integers(300, size=ROWS)])


@pytest.fixture(scope="module")
def planted(features: pa.Table) -> Labels:
    """Fraud is what is paid far away: 5 % of the rows."""
    signal = np.log(features["paid"].to_numpy()) + features["far"].to_numpy() / 20
    return np.asarray(signal > np.quantile(signal, 0.95))


def logits(
    features: pa.Table, y: Labels, accounts: Accounts, config: TrainConfig = QUICK
) -> npt.NDArray[np.float64]:
    return Layered.fit(features, y, accounts, GROUPS, config=config).logit(features)


@pytest.fixture(scope="module")
def learned(features: pa.Table, planted: Labels, accounts: Accounts) -> Layered:
    config = replace(QUICK, epochs=20)
    return Layered.fit(features, planted, accounts, GROUPS, config=config)


def test_it_learns_what_is_there(learned: Layered) -> None:
    fresh = training_rows(ROWS, seed=4)
    signal = np.log(fresh["paid"].to_numpy()) + fresh["far"].to_numpy() / 20
    assert average_precision(signal > np.quantile(signal, 0.95), learned.logit(fresh)) > 0.8


def test_later_stages_add_what_they_know(learned: Layered) -> None:
    """The fraud is in both groups, so neither stage is idle."""
    assert (learned.increments(training_rows(ROWS, seed=4)).std(axis=0) > 0.3).all()


def test_it_learns_nothing_where_nothing_is(
    features: pa.Table, planted: Labels, accounts: Accounts
) -> None:
    shuffled = np.random.default_rng(0).permutation(planted)
    blind = Layered.fit(features, shuffled, accounts, GROUPS, config=QUICK)
    fresh = training_rows(ROWS, seed=4)
    unrelated = np.random.default_rng(1).permutation(planted)
    assert average_precision(unrelated, blind.logit(fresh)) < 0.1  # 5 % are frauds
    assert np.abs(blind.increments(fresh)).mean() < 0.3


def test_the_state_learns_from_what_reads_it() -> None:
    """Heads that start at zero send nothing back: what reaches the facts comes by the probe."""
    network = LayeredNetwork(encoder(), base_logit=-3.0, config=SMALL)
    module = LayeredModule(network, None, QUICK, keys=(), seed=1, learning_rate=1e-3, steps=10)
    rows = Tensors.of(encoder().encode(training_rows()), torch.zeros(400))
    module.training_step(rows, number=1).backward()
    assert all(facts.linear.weight.grad.abs().max() > 0 for facts in network.facts)
    assert not any(name.startswith("reader") for name in network.state_dict())


def test_the_base_is_the_rate_of_the_rows_trained_on(
    features: pa.Table, planted: Labels, accounts: Accounts
) -> None:
    model = Layered.fit(features, planted, accounts, GROUPS, config=replace(QUICK, epochs=1))
    rate = planted[~held_out_accounts(accounts, share=0.15, seed=1)].mean()
    assert model.base_logit == pytest.approx(np.log(rate / (1 - rate)), rel=1e-5)


def test_the_same_seed_gives_the_same_model_and_another_another(
    features: pa.Table, planted: Labels, accounts: Accounts
) -> None:
    once = logits(features, planted, accounts)
    torch.rand(3)  # what was drawn before does not matter
    assert np.array_equal(once, logits(features, planted, accounts))
    assert not np.allclose(once, logits(features, planted, accounts, replace(QUICK, seeds=(2,))))


def test_training_leaves_the_callers_random_numbers_alone(
    features: pa.Table, planted: Labels, accounts: Accounts
) -> None:
    before = torch.random.get_rng_state()
    logits(features, planted, accounts, replace(QUICK, epochs=1))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_seeds_are_averaged_by_logit(
    features: pa.Table, planted: Labels, accounts: Accounts
) -> None:
    both, one, other = (
        logits(features, planted, accounts, replace(QUICK, epochs=1, seeds=seeds))
        for seeds in ((1, 2), (1,), (2,))
    )
    np.testing.assert_allclose(both, (one + other) / 2, atol=1e-5)


def test_the_curve_is_that_of_the_accounts_held_out(learned: Layered) -> None:
    (curve,) = learned.curves
    assert len(curve.precisions) == len(curve.losses) == 20
    assert curve.losses[-1] < curve.losses[0]


def test_training_on_past_the_best_epoch_does_no_harm(
    features: pa.Table, planted: Labels, accounts: Accounts
) -> None:
    """On shuffled labels the held-out precision only wavers: the best epoch is not the last."""
    shuffled = np.random.default_rng(0).permutation(planted)
    config = replace(QUICK, epochs=6, seeds=(1, 2, 3))
    found = train_layered(encoder(), encoder().encode(features), shuffled, accounts, config=config)
    for seed in found:
        apart = held_out_accounts(accounts, share=0.15, seed=seed.curve.seed)
        assert np.array_equal(seed.rows, np.flatnonzero(apart))
        kept = average_precision(shuffled[apart], seed.logit)
        assert kept == pytest.approx(max(seed.curve.precisions), abs=1e-6)
    assert any(seed.curve.precisions[-1] < max(seed.curve.precisions) for seed in found)


def test_what_scores_has_learned_from_the_accounts_held_out_at_first(
    features: pa.Table, accounts: Accounts
) -> None:
    """A fraud that only those accounts show is unknown when they are judged, known afterwards."""
    apart = held_out_accounts(accounts, share=0.3, seed=1)
    abroad = features["country"].to_numpy(zero_copy_only=False) == "FR"
    y = (abroad & apart) | (np.random.default_rng(0).random(ROWS) < 0.02)
    config = replace(QUICK, epochs=160, learning_rate_factor=10, held_out=0.3)
    (learned,) = train_layered(encoder(), encoder().encode(features), y, accounts, config=config)
    rows = Tensors.of(encoder().encode(features), torch.zeros(ROWS)).rows(
        torch.from_numpy(learned.rows)
    )
    told = increments_of(learned.networks[0], rows).sum(axis=1)
    assert np.corrcoef(learned.logit, abroad[apart])[0, 1] < 0.3
    assert np.corrcoef(told, abroad[apart])[0, 1] > 0.8


def test_calibration_rows_are_those_each_network_did_not_learn_from(
    features: pa.Table, planted: Labels, accounts: Accounts
) -> None:
    config = replace(QUICK, epochs=1, seeds=(1, 2))
    found = Layered.fit(features, planted, accounts, GROUPS, config=config).held_out
    first, second = (held_out_accounts(accounts, share=0.15, seed=seed) for seed in (1, 2))
    assert found is not None
    assert np.array_equal(
        found.rows, np.concatenate([np.flatnonzero(first), np.flatnonzero(second)])
    )
    assert len(found.logit) == first.sum() + second.sum()


def dated(features: pa.Table) -> pa.Table:
    """The rows over a hundred days, in their order."""
    first = np.datetime64("2025-01-01", "us")
    step = np.timedelta64(100, "D") // np.timedelta64(1, "us") // features.num_rows
    moments = first + np.arange(features.num_rows) * np.timedelta64(step, "us")
    return features.append_column("as_of", pa.array(moments, pa.timestamp("us", tz="UTC")))


def test_where_rows_have_moments_the_last_days_are_held_out_of_all_seeds(
    features: pa.Table, planted: Labels, accounts: Accounts
) -> None:
    config = replace(QUICK, epochs=1, seeds=(1, 2))
    model = Layered.fit(dated(features), planted, accounts, GROUPS, config=config)
    assert model.held_out is not None
    assert model.held_out.are_late
    late = planted[model.held_out.rows]
    assert late.sum() >= 50
    assert model.held_out.rows.tolist() == list(range(ROWS - late.size, ROWS))
    assert len(model.stage_weights) == 2


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=60),
    st.integers(0, 99),
    st.floats(0, 1),
)
def test_no_account_is_on_both_sides(accounts: list[str], seed: int, share: float) -> None:
    names = np.array(accounts)
    apart = held_out_accounts(names, share=share, seed=seed)
    assert not set(names[apart]) & set(names[~apart])


def test_an_epoch_shows_each_row_at_most_once_in_a_seeded_order() -> None:
    rows = Tensors(
        numbers=torch.arange(10.0)[:, None],
        missing=torch.zeros(10, 1),
        codes=torch.zeros(10, 0),
        y=torch.zeros(10),
    )
    drawn = [
        Batches(rows, size=3, seed=seed, epoch=lambda epoch=epoch: epoch)
        for seed, epoch in ((1, 0), (1, 0), (2, 0), (1, 1))
    ]
    epochs = [[batch.numbers.flatten().tolist() for batch in batches] for batches in drawn]
    shown = [number for batch in epochs[0] for number in batch]
    assert [len(batch) for batch in epochs[0]] == [3, 3, 3] == [3] * len(drawn[0])
    assert len(set(shown)) == 9
    assert epochs[0] == epochs[1]
    assert epochs[0] != epochs[2]
    assert epochs[0] != epochs[3], "each epoch has an order of its own"


def test_a_batch_that_divides_the_rows_leaves_none_out() -> None:
    rows = Tensors(
        numbers=torch.arange(9.0)[:, None],
        missing=torch.zeros(9, 1),
        codes=torch.zeros(9, 0),
        y=torch.zeros(9),
    )
    batches = Batches(rows, size=3, seed=1, epoch=lambda: 0)
    shown = [number for batch in batches for number in batch.numbers.flatten().tolist()]
    assert sorted(shown) == list(range(9))


@pytest.mark.parametrize("frauds", [0, 1, 3000], ids=["no fraud", "one fraud", "all fraud"])
def test_a_part_without_both_classes_is_refused(
    features: pa.Table, accounts: Accounts, frauds: int
) -> None:
    y = np.arange(ROWS) < frauds
    with pytest.raises(
        ValueError,
        match=r"the \d+ rows to .* have \d+ frauds; both classes are needed: take a longer span",
    ):
        train_layered(encoder(), encoder().encode(features), y, accounts, config=QUICK)


@pytest.mark.parametrize("steps", [1, 2, 9, 10, 11, 20])
def test_a_training_may_be_of_any_number_of_steps(
    features: pa.Table, planted: Labels, accounts: Accounts, steps: int
) -> None:
    few = slice(0, 200)  # one batch an epoch
    y, names = planted[few], accounts[few]
    assert y.sum() > 5
    model = Layered.fit(
        features.slice(0, 200), y, names, GROUPS, config=replace(QUICK, epochs=steps, held_out=0.4)
    )
    assert len(model.curves[0].precisions) == steps
