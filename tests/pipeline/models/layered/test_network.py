"""The layered network: its stages add up, know nothing of later groups, and may be absent."""

import math

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.models.layered.losses import stage_losses, stage_weights
from pipeline.models.layered.model import Layered, settings_of
from pipeline.models.layered.network import Dropout, GroupEncoder, LayeredNetwork, NetworkConfig
from pipeline.models.layered.tensors import Tensors
from tests.small_network import GROUPS, SMALL, encoder, layered, network, table, training_rows

NUMBER = st.none() | st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.none() | st.sampled_from(["online", "DE"]) | st.text(max_size=3)
ROW = st.fixed_dictionaries({"paid": NUMBER, "channel": TEXT, "far": NUMBER, "country": TEXT})
ROWS = st.lists(ROW, min_size=1, max_size=8)
FEW = settings(deadline=None, max_examples=60)


@pytest.fixture(scope="module")
def model() -> Layered:
    return layered()


def rows_of(features: pa.Table) -> Tensors:
    return Tensors.of(encoder().encode(features), torch.zeros(features.num_rows))


def first_facts(one: LayeredNetwork) -> GroupEncoder:
    facts = one.facts[0]
    assert isinstance(facts, GroupEncoder)
    return facts


def vectors(facts: GroupEncoder, features: pa.Table) -> npt.NDArray[np.float32]:
    """The vectors of the first group."""
    rows = rows_of(features)
    with torch.inference_mode():
        return np.asarray(
            facts(rows.numbers[:, :1], rows.missing[:, :1], rows.codes[:, :1]).numpy()
        )


@FEW
@given(rows=ROWS)
def test_stages_add_up_to_the_logit_whatever_the_row(
    model: Layered, rows: list[dict[str, object]]
) -> None:
    features = table(rows)
    by_network = [float(one.base_logit) + sum_of_stages(one, features) for one in model.networks]
    logit = model.logit(features)
    assert np.isfinite(logit).all()
    np.testing.assert_allclose(
        logit, model.base_logit + model.increments(features).sum(axis=1), atol=1e-5
    )
    np.testing.assert_allclose(logit, np.mean(by_network, axis=0), rtol=1e-5, atol=1e-5)


def sum_of_stages(one: LayeredNetwork, features: pa.Table) -> npt.NDArray[np.float64]:
    """The last prefix's logit as the training sees it, without the base."""
    rows = rows_of(features)
    with torch.inference_mode():
        return np.asarray(
            one(rows.numbers, rows.missing, rows.codes).double().cumsum(dim=1)[:, -1].numpy()
        )


@FEW
@given(rows=ROWS, later=ROW)
def test_a_stage_knows_nothing_of_later_groups(
    model: Layered, rows: list[dict[str, object]], later: dict[str, object]
) -> None:
    others = [{**row, "far": later["far"], "country": later["country"]} for row in rows]
    np.testing.assert_allclose(
        model.increments(table(others))[:, 0],
        model.increments(table(rows))[:, 0],
        rtol=1e-5,
        atol=1e-5,
    )


@FEW
@given(rows=ROWS)
def test_a_row_scores_alone_as_it_does_among_others(
    model: Layered, rows: list[dict[str, object]]
) -> None:
    alone = np.concatenate([model.logit(table([row])) for row in rows])
    np.testing.assert_allclose(model.logit(table(rows)), alone, rtol=1e-5, atol=1e-5)


def test_an_untrained_network_says_nothing() -> None:
    untrained = LayeredNetwork(encoder(), base_logit=-5.0)
    rows = rows_of(training_rows())
    assert torch.equal(untrained(rows.numbers, rows.missing, rows.codes), torch.zeros(400, 2))


def test_a_row_without_any_fact_of_a_group_gets_the_absent_vector() -> None:
    facts = first_facts(network())
    found = vectors(facts, table([{}, {"paid": 20.0}, {"channel": "nobody has this"}]))
    absent = facts.absent.detach().numpy()
    assert [bool(np.array_equal(row, absent)) for row in found] == [True, False, False]


def test_a_missing_number_is_not_the_middle_one() -> None:
    """A missing value is a fact: its mask tells it from a row that has just the middle."""
    middle = encoder().groups[0].numbers[0].middle
    found = vectors(
        first_facts(network()),
        table([{"channel": "pos"}, {"channel": "pos", "paid": math.expm1(middle)}]),
    )
    assert np.abs(found[0] - found[1]).max() > 0.01


def test_unknown_categories_are_alike_and_unlike_a_missing_one() -> None:
    features = table([{"paid": 5.0, "channel": word} for word in ("carrier pigeon", "smoke", None)])
    found = vectors(first_facts(network()), features).round(5)
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_group_dropout_replaces_whole_groups_in_training_alone() -> None:
    facts = first_facts(network(config=NetworkConfig(width=16, group_dropout=0.5)))
    features, absent = training_rows(), facts.absent.detach().numpy()
    replaced = (vectors(facts.train(), features) == absent).all(axis=1)
    assert 0.4 < replaced.mean() < 0.6
    assert not (vectors(facts.eval(), features) == absent).all(axis=1).any()


def test_scores_do_not_change_from_call_to_call(model: Layered) -> None:
    assert np.array_equal(model.logit(training_rows()), model.logit(training_rows()))


@pytest.mark.parametrize("blocks", [0, 3], ids=["no residual blocks", "three a stage"])
def test_one_increment_for_each_row_and_group(blocks: int) -> None:
    deep = LayeredNetwork(encoder(), base_logit=-5.0, config=NetworkConfig(blocks=blocks))
    rows = rows_of(training_rows(7))
    assert deep(rows.numbers, rows.missing, rows.codes).shape == (7, len(GROUPS))
    assert (
        sum(name.startswith("injections.0.blocks") for name, _ in deep.named_parameters())
        == 6 * blocks
    )


def test_no_rows_have_no_increments(model: Layered) -> None:
    assert model.increments(table([])).shape == (0, 2)


@pytest.mark.parametrize(
    ("stages", "weights"),
    [(1, [1.0]), (2, [0.3, 1.0]), (3, [0.15, 0.3, 1.0]), (5, [0.15, 0.15, 0.15, 0.3, 1.0])],
    ids=["one stage", "two", "three", "five"],
)
def test_later_prefixes_weigh_more(stages: int, weights: list[float]) -> None:
    assert stage_weights(stages).tolist() == pytest.approx(weights)


def test_each_prefix_is_judged_by_its_own_logit() -> None:
    """Base 0: a fraud with increments ln 3 and 0, an honest row with 0 and ln 3.

    The losses by hand.
    """
    three = math.log(3)
    losses = stage_losses(
        torch.tensor([[three, 0.0], [0.0, three]]), torch.tensor(0.0), torch.tensor([1.0, 0.0])
    )
    first = (math.log(4 / 3) + math.log(2)) / 2  # p = 3/4 of the fraud, 1/2 of the honest row
    second = (math.log(4 / 3) + math.log(4)) / 2  # p = 3/4 of both
    assert losses.tolist() == pytest.approx([first, second])


def test_the_base_belongs_to_every_prefix() -> None:
    losses = stage_losses(torch.zeros(1, 2), torch.tensor(math.log(1 / 3)), torch.tensor([0.0]))
    assert losses.tolist() == pytest.approx([math.log(4 / 3)] * 2)


def test_the_settings_tell_the_shape() -> None:
    told = settings_of(layered(networks=3))
    assert (told["stages"], told["networks"], told["width"]) == ("amount, place", 3, SMALL.width)


@FEW
@given(rows=ROWS)
def test_the_columns_are_the_pieces_of_the_library_beside_scaled_numbers_and_masks(
    rows: list[dict[str, object]],
) -> None:
    facts, given_rows = first_facts(network()), rows_of(table(rows))
    numbers, missing = given_rows.numbers[:, :1], given_rows.missing[:, :1]
    assert facts.pieces is not None
    assert facts.columns is not None
    (paid,) = encoder().groups[0].numbers
    within = numbers.clamp(paid.knots[0], paid.knots[-1])  # what lies beyond counts as the knot
    filled = torch.where(missing > 0, facts.middle, within)
    scaled = (filled - facts.middle) / facts.spread
    wanted = torch.cat([facts.pieces(filled), scaled, missing], dim=1)
    torch.testing.assert_close(facts.columns(numbers, missing), wanted, rtol=1e-5, atol=1e-5)


def test_a_number_beyond_all_that_was_learned_from_counts_as_the_largest() -> None:
    largest = max(training_rows()["paid"].to_pylist())
    row = {"channel": "pos", "far": 3.0, "country": "DE"}
    at, beyond = (layered().logit(table([{**row, "paid": paid}])) for paid in (largest, 1e9))
    np.testing.assert_allclose(at, beyond, atol=1e-4)


def test_weights_of_format_4_go_on_beyond_the_knots_as_they_did() -> None:
    now, before = network(), network()
    kept = {name: part for name, part in now.state_dict().items() if ".columns." not in name}
    before.load_weights(kept)
    facts, missing = first_facts(before), torch.zeros(2, 1)
    assert facts.columns is not None
    assert facts.pieces is not None
    numbers = torch.tensor([[-1e4], [1e4]])
    scaled = (numbers - facts.middle) / facts.spread
    wanted = torch.cat([facts.pieces(numbers), scaled, missing], dim=1)
    torch.testing.assert_close(facts.columns(numbers, missing), wanted)
    with pytest.raises(RuntimeError, match="Missing key"):
        before.load_weights({})


def test_what_no_training_row_had_adds_nothing_before_it_is_learned() -> None:
    fresh = LayeredNetwork(encoder(), base_logit=-3.0, config=SMALL)
    unknown, missing = torch.tensor([[1]]), torch.tensor([[0]])
    facts = first_facts(fresh)
    numbers, none = torch.ones(1, 1), torch.zeros(1, 1)
    known = facts.coded(numbers, none, missing)
    torch.testing.assert_close(facts.coded(numbers, none, unknown), known)
    (masked,) = (facts.linear.weight[:, place[-1]] for place in facts.places()[:1])
    torch.testing.assert_close(masked, torch.zeros_like(masked))


def test_dropout_keeps_the_mean_and_drops_its_share() -> None:
    dropped = Dropout(0.25).train()(torch.ones(100_000))
    assert abs(float((dropped == 0).float().mean()) - 0.25) < 0.01
    assert abs(float(dropped.mean()) - 1) < 0.01
