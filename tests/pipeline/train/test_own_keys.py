"""With keys, features and columns of a portfolio's own the network trains, explains and exports."""

from pathlib import Path

import numpy as np
import pytest

from features.build import BuildConfig
from pipeline.export.export import export
from pipeline.export.scorer import Scorer
from pipeline.ingest.ingest import ingest
from pipeline.lake.snapshot import read_snapshot
from pipeline.lake.tables import Lake
from pipeline.portfolio import read_portfolio
from pipeline.simulate.simulate import SimulateConfig, simulate, write
from pipeline.train.train import train
from tests.small_world import AS_OF, BUILD_CONFIG, NOW, QUICK, Desk, World

OWN = """
[keys.till]
column = "coalesce(merchant_id, counterparty_id) || '-' || channel"
meaning = "till"
after = "amount"
spans = ["7d"]
[features.till_big]
group = "till"
aggregate = "count"
where = "amount > 100"
key = "till"
span = "7d"
meaning = "payments above 100 at the till in 7d"
[features.till_share]
group = "till"
sql = "till_big / till_count_7d"
unit = "share"
meaning = "share of payments above 100 at the till"
[groups.extra.places]
group = "till"
columns = "merchant_l*"
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world whose only stages are the amount and a key of its own."""
    folder = tmp_path_factory.mktemp("own")
    file = write(
        simulate(SimulateConfig(transactions=3000, days=42, fraud_rate=0.03)), folder / "w"
    )
    text = file.read_text(encoding="utf-8").partition("[groups]")
    mapped = "".join(f'{name} = "{name}"\n' for name in MAPPED)
    groups = "[columns]\n" + mapped + '[groups]\norder = ["amount"]\n' + OWN
    file.write_text(text[0] + groups, encoding="utf-8")
    portfolio = read_portfolio(file)
    lake = Lake(str(folder / "lake"), portfolio.name)
    ingest(portfolio, lake, now=NOW)
    trained = train(
        portfolio, lake, as_of=AS_OF, build_config=BUILD_CONFIG, models=("layered",), config=QUICK
    )
    return World(folder=folder, portfolio=portfolio, lake=lake, trained=trained)


MAPPED = (
    *("transaction_id", "event_time", "known_at", "account_id", "amount", "currency"),
    *("is_fraud", "label_known_at"),
)


@pytest.mark.slow
def test_a_key_of_its_own_is_a_stage_that_is_explained(own: World, tmp_path: Path) -> None:
    assert [group.name for group in own.trained.bundle.model.encoder.groups][:2] == [
        "amount",
        "till",
    ]
    assert {
        "till_count_7d",
        "till_share",
        "own_c_merchant_latitude",
    } <= own.trained.bundle.features.keys()
    desk = Desk.open(own, tmp_path / "desk")
    assert desk.score().scored > 0
    stages = [stage for case in desk.cases for row in case.transactions for stage in row.stages]
    said = {
        fact.text.split(":")[0] for stage in stages if stage.group == "till" for fact in stage.facts
    }
    assert said & {"payments with the same till in 7d", "payments above 100 at the till in 7d"}


@pytest.mark.slow
def test_a_key_of_its_own_is_exported(own: World, tmp_path: Path) -> None:
    bundle = own.trained.bundle
    config = BuildConfig()
    features = read_snapshot(own.portfolio, own.lake).features(build_config=config).slice(0, 50)
    scorer = Scorer(export(bundle, tmp_path / "exported"))
    exported = scorer.score({name: features[name].to_pylist() for name in bundle.features})
    assert np.allclose(exported.logit, bundle.model.logit(features), atol=1e-5)
