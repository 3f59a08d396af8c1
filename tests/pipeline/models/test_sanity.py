"""Sanity of the reasons: seeds agree, noise teaches nothing, known fraud counts.

All on one world of 8,000 transactions and four groups: a network learns its first 40 days, in a
second, and is asked about the rest. Flagged are the hundred rows that score highest.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.stats import spearmanr

from features.declarations import Group
from features.encoder import Encoder
from pipeline.arrays import BoolArray
from pipeline.evaluation.metrics import average_precision
from pipeline.evaluation.time_split import labelled_rows
from pipeline.ingest.ingest import ingest
from pipeline.lake.snapshot import read_snapshot
from pipeline.lake.tables import Lake
from pipeline.models.layered.model import Layered
from pipeline.models.layered.network import LayeredNetwork
from pipeline.models.layered.training import TrainConfig
from pipeline.portfolio import read_portfolio
from pipeline.simulate.simulate import SimulateConfig, simulate, write
from tests.small_world import BUILD_CONFIG, NOW, START

GROUPS = ("amount", "ip", "retailer", "sender")
SEEDS = (1, 2, 3), (4, 5, 6)
FLAGGED = 100
FURTHER_FRAUDS = (0, 1, 2, 3, 4)


@dataclass(frozen=True)
class Sane:
    """The world's first 40 days and what comes after, and two models of it that share no seed."""

    groups: tuple[Group, ...]
    learned: pa.Table
    y: BoolArray
    asked: pa.Table
    truth: BoolArray

    @cached_property
    def models(self) -> tuple[Layered, Layered]:
        return self.fit(self.y, SEEDS[0]), self.fit(self.y, SEEDS[1])

    @cached_property
    def flagged(self) -> pa.Table:
        logit = np.mean([model.logit(self.asked) for model in self.models], axis=0)
        return self.asked.take(pa.array(np.argsort(-logit)[:FLAGGED]))

    def fit(self, y: BoolArray, seeds: tuple[int, ...]) -> Layered:
        accounts = self.learned["account_id"].to_numpy(zero_copy_only=False).astype(str)
        return Layered.fit(
            self.learned, y, accounts, self.groups, config=TrainConfig(seeds=seeds, epochs=6)
        )


@pytest.fixture(scope="module")
def sane(tmp_path_factory: pytest.TempPathFactory) -> Sane:
    folder = tmp_path_factory.mktemp("sane")
    file = write(
        simulate(SimulateConfig(transactions=8000, days=60, fraud_rate=0.05)), folder / "world"
    )
    lines = file.read_text(encoding="utf-8").splitlines()
    wanted = ", ".join(f'"{group}"' for group in GROUPS)
    file.write_text(
        "\n".join(f"order = [{wanted}]" if line.startswith("order = ") else line for line in lines)
    )
    portfolio = read_portfolio(file)
    lake = Lake(str(folder / "lake"), portfolio.name)
    ingest(portfolio, lake, now=NOW)
    snapshot = read_snapshot(portfolio, lake)
    features, cut, end = (
        snapshot.features(build_config=BUILD_CONFIG),
        START + timedelta(days=40),
        START + timedelta(days=60),
    )
    learned, y = labelled_rows(features, snapshot.labels, START, cut, known_by=NOW)
    asked, truth = labelled_rows(features, snapshot.labels, cut, end, known_by=NOW)
    return Sane(groups=snapshot.groups, learned=learned, y=y, asked=asked, truth=truth)


def rank_correlation(one: Layered, other: Layered, rows: pa.Table) -> float:
    """Spearman's, of all increments of these rows."""
    return float(spearmanr(one.increments(rows).ravel(), other.increments(rows).ravel()).statistic)


def test_the_reasons_of_models_that_share_no_seed_rank_alike(sane: Sane) -> None:
    """A model's increments are the means of its three networks'.

    Those of single networks agree less.
    """
    assert rank_correlation(*sane.models, sane.flagged) >= 0.9
    alone = [replace(sane.models[0], networks=(network,)) for network in sane.models[0].networks]
    pairs = [
        rank_correlation(alone[one], alone[other], sane.flagged)
        for one, other in ((0, 1), (0, 2), (1, 2))
    ]
    assert min(pairs) >= 0.85


def test_shuffled_labels_teach_nothing(sane: Sane) -> None:
    """In the mean of three shuffles: how much chance teaches varies between them."""
    learned = size_of_increments(sane.models[0], sane.asked)
    base_rate, noise = sane.truth.mean(), []
    for shuffle in range(3):
        shuffled = np.random.default_rng(shuffle).permutation(sane.y)
        model = sane.fit(shuffled, SEEDS[0])
        noise.append(size_of_increments(model, sane.asked))
        found = average_precision(sane.truth, model.logit(sane.asked))
        assert found == pytest.approx(base_rate, abs=0.05)
    assert np.mean(noise) < 0.1 * learned


def size_of_increments(model: Layered, rows: pa.Table) -> float:
    """The mean distance of the rows' logits from the base rate's."""
    return float(np.abs(model.increments(rows).sum(axis=1)).mean())


def test_without_its_top_stage_the_score_moves_by_that_stages_increment(sane: Sane) -> None:
    model = sane.models[0]
    encoder = Encoder(groups=model.encoder.groups[:-1])
    lower = Layered(
        encoder=encoder,
        networks=tuple(_without_top(one, encoder) for one in model.networks),
        shape=model.shape,
    )
    increments = model.increments(sane.asked)
    np.testing.assert_allclose(
        lower.logit(sane.asked), model.logit(sane.asked) - increments[:, -1], atol=1e-5
    )
    np.testing.assert_allclose(lower.increments(sane.asked), increments[:, :-1], atol=1e-5)
    assert (increments[:, -1] > 0.01).any()
    assert (increments[:, -1] < -0.01).any()


def _without_top(network: LayeredNetwork, encoder: Encoder) -> LayeredNetwork:
    lower = LayeredNetwork(encoder, base_logit=0.0)
    whole = network.state_dict()
    lower.load_state_dict({name: whole[name] for name in lower.state_dict()})
    return lower.eval()


def test_confirmed_fraud_at_a_retailer_never_lowers_its_increment(sane: Sane) -> None:
    """Training holds back what would fall.

    Without that (`pipeline.models.layered.monotonicity`) 60 % of these steps do, by up to 0.14.
    """
    rows = sane.flagged.filter(
        pa.array(sane.flagged["merchant_count_30d"].is_valid().to_numpy(zero_copy_only=False))
    )
    place, model = GROUPS.index("retailer"), sane.models[0]
    increments = np.array(
        [model.increments(with_frauds(rows, more))[:, place] for more in FURTHER_FRAUDS]
    )
    steps = np.diff(increments, axis=0)
    assert steps.min() > -0.02
    assert (steps.mean(axis=1) > 0).all()
    assert steps[0].mean() > 0.1


def with_frauds(rows: pa.Table, more: int) -> pa.Table:
    """The rows as if so many more frauds at their retailers were known half a day before."""
    table = rows.to_pandas()
    for span in ("1d", "7d", "30d"):
        frauds, rate = f"merchant_known_frauds_{span}", f"merchant_fraud_rate_{span}"
        labels = (table[frauds] + 0.1) / table[rate] - 20
        table[frauds] += more
        table[rate] = (table[frauds] + 0.1) / (labels + more + 20)
    table["merchant_fraud_run"] += more
    if more:
        table["merchant_days_since_fraud"] = np.fmin(table["merchant_days_since_fraud"], 0.5)
    return pa.Table.from_pandas(pd.DataFrame(table), schema=rows.schema, preserve_index=False)
