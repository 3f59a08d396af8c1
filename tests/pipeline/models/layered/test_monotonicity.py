"""One more known fraud: how it changes a row, and that a stage which it would lower is seen."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from features.declarations import Group, fact
from features.encoder import Encoder
from features.known_fraud import known_fraud
from pipeline.models.layered.monotonicity import (
    KnownFraud,
    known_frauds,
    monotonicity_penalty,
)
from pipeline.models.layered.network import LayeredNetwork, NetworkConfig
from pipeline.models.layered.tensors import Tensors

RETAILER = known_fraud("merchant_id", "merchant", named="retailer", spans=("1d", "30d"))
GROUPS = (
    Group(name="amount", meaning="", needs=(), features=(fact("paid", "amount", "paid"),)),
    Group(name="retailer", meaning="", needs=(), features=RETAILER),
)


def table(frauds: int, labels: int, days: float | None) -> dict[str, float | None]:
    """Facts of a retailer that has so many known frauds among its labels, the last one so long ago.

    Its rate by hand.
    """
    rate = (frauds + 0.1) / (labels + 20)
    counts = {
        f"merchant_{name}_{span}": value
        for span in ("1d", "30d")
        for name, value in (("known_frauds", frauds), ("fraud_rate", rate))
    }
    return counts | {
        "paid": 10.0,
        "merchant_days_since_fraud": days,
        "merchant_days_since_legitimate": 1.0,
        "merchant_fraud_run": frauds,
    }


UNKNOWN = {"paid": 10.0, "merchant_fraud_rate_1d": 0.005, "merchant_fraud_rate_30d": 0.005}
KNOWN = [table(0, 5, None), table(2, 7, 9.0), table(3, 40, 0.1)]


def tensors(rows: list[dict[str, float | None]], encoder: Encoder) -> Tensors:
    return Tensors.of(encoder.encode(features(rows)), torch.zeros(len(rows)))


def features(rows: list[dict[str, float | None]]) -> pa.Table:
    shown = [feature.name for group in GROUPS for feature in group.features if feature.shown]
    return pa.Table.from_pandas(
        pd.DataFrame(rows, columns=shown).astype("Float64"), preserve_index=False
    )


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    random = np.random.default_rng(0)
    rows = [
        table(int(frauds), 50, float(days))
        for frauds, days in zip(random.integers(9, size=99), random.random(99) * 30, strict=True)
    ]
    return Encoder.fit(features(rows), GROUPS)


def test_two_further_frauds_make_the_row_what_the_features_would_be(encoder: Encoder) -> None:
    (merchant,) = known_frauds(encoder)
    given, days = tensors([*KNOWN, KNOWN[0]], encoder), torch.full((4,), 0.5)
    made = merchant.with_more(given, torch.tensor([2, 2, 2, 0]), days=days)
    wanted = tensors([table(2, 7, 0.5), table(4, 9, 0.5), table(5, 42, 0.1), KNOWN[0]], encoder)
    torch.testing.assert_close(made.numbers, wanted.numbers, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(made.missing, wanted.missing)


def test_a_row_whose_retailer_is_unknown_is_not_asked(encoder: Encoder) -> None:
    (merchant,) = known_frauds(encoder)
    assert merchant.is_asked(tensors([KNOWN[0], UNKNOWN], encoder)).tolist() == [True, False]


@pytest.mark.parametrize(
    ("sign", "least", "most"), [(1.0, 0.0, 0.0), (-1.0, 0.01, 100.0)], ids=["rises", "falls"]
)
def test_what_falls_is_seen_and_what_rises_is_left_alone(
    encoder: Encoder, sign: float, least: float, most: float
) -> None:
    (merchant,) = known_frauds(encoder)

    class Counting(LayeredNetwork):
        def increment(
            self,
            stage: int,
            before: torch.Tensor,
            numbers: torch.Tensor,
            missing: torch.Tensor,
            codes: torch.Tensor,
        ) -> torch.Tensor:
            own = super().increment(stage, before, numbers, missing, codes)
            assert stage == merchant.stage
            return own + sign * numbers[:, merchant.run]

    network = Counting(encoder, base_logit=-5.0, config=NetworkConfig(width=8)).train()
    fallen = float(penalty(network, merchant, tensors(KNOWN * 40, encoder)).detach())
    assert least <= fallen <= most
    assert network.training
    assert float(penalty(network, merchant, tensors([UNKNOWN] * 8, encoder))) == 0.0


def penalty(network: LayeredNetwork, known: KnownFraud, rows: Tensors) -> torch.Tensor:
    states = network.states(rows.numbers, rows.missing, rows.codes)
    return monotonicity_penalty(network, [known], rows, states)


def test_a_stage_asked_by_itself_says_what_it_says_in_the_network(encoder: Encoder) -> None:
    network = LayeredNetwork(encoder, base_logit=-5.0, config=NetworkConfig(width=8))
    for weights in network.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    network.eval()
    rows = tensors(KNOWN * 4, encoder)
    columns = (rows.numbers, rows.missing, rows.codes)
    states, whole = network.states(*columns), network(*columns)
    network.train()
    for stage in range(len(states)):
        alone = network.increment(stage, states[max(stage - 1, 0)], *columns)
        torch.testing.assert_close(alone, whole[:, stage])


def test_groups_without_known_frauds_ask_nothing() -> None:
    encoder = Encoder.fit(pa.table({"paid": [1.0, 2.0]}), GROUPS[:1])
    assert known_frauds(encoder) == []
