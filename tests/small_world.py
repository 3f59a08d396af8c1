"""A small simulated world: 4,000 transactions of 42 days, three groups, a training on day 35."""

import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from features.build import BuildConfig
from features.ip.addresses import packaged_database
from pipeline.casework import CaseFacts, Engine, alert_page, open_casework, queue
from pipeline.ingest.ingest import ingest
from pipeline.lake.tables import Lake
from pipeline.models.layered.training import TrainConfig
from pipeline.portfolio import Portfolio, read_portfolio
from pipeline.registry.champion import Champion
from pipeline.score.score import Scored, score
from pipeline.simulate.simulate import SimulateConfig, simulate, write
from pipeline.train.report import Trained

START = datetime(2025, 1, 1, tzinfo=UTC)
AS_OF = START + timedelta(days=35)
NOW = datetime(2025, 6, 1, tzinfo=UTC)
BUILD_CONFIG = BuildConfig(ip_databases=(packaged_database(),))
QUICK = TrainConfig(seeds=(1,), epochs=2)
MODELS = ("layered", "logistic")
ALL_GROUPS = (
    '"amount", "clock", "ip", "location", "retailer", "receiver", "sender", "credit", "social"'
)
CHANGES = {
    f"order = [{ALL_GROUPS}]": 'order = ["amount", "clock", "retailer"]',
    'when = "amount > 5000"': """when = "amount > 400 AND channel = 'online'\"""",
}


@dataclass(frozen=True, kw_only=True)
class World:
    """The portfolio, its lake after ingesting, and what was trained on it."""

    folder: Path
    portfolio: Portfolio
    lake: Lake
    trained: Trained

    @property
    def champion(self) -> Champion:
        return Champion(version="1", bundle=self.trained.bundle)

    @property
    def transactions(self) -> pa.Table:
        stored = self.lake.read("transactions")
        assert stored is not None
        return stored.sort_by([("as_of", "ascending"), ("transaction_id", "ascending")])

    @property
    def unscored(self) -> pa.Table:
        """What stands at or after the training's moment."""
        return self.transactions.filter(
            pc.field("as_of") >= pa.scalar(AS_OF, pa.timestamp("us", tz="UTC"))
        )


def simulated(folder: Path) -> tuple[Portfolio, Lake]:
    """Write the world's files and take them in."""
    file = write(
        simulate(SimulateConfig(transactions=4000, days=42, fraud_rate=0.03)), folder / "world"
    )
    text = file.read_text(encoding="utf-8")
    for before, after in CHANGES.items():
        assert before in text
        text = text.replace(before, after)
    file.write_text(text, encoding="utf-8")
    portfolio = read_portfolio(file)
    lake = Lake(str(folder / "lake"), portfolio.name)
    ingest(portfolio, lake, now=NOW)
    return portfolio, lake


def trained_as(world: World, name: str, *, ap: float = 0.5) -> Trained:
    """The world's training under another name, with figures of our choosing."""
    metrics = {**world.trained.bundle.metrics, "ap": ap, "base_rate": 0.005}
    bundle = replace(world.trained.bundle, portfolio=name, metrics=metrics)
    better = {
        other: replace(difference, difference=0.1, low=0.05, high=0.15)
        for other, difference in world.trained.over.items()
    }
    return replace(world.trained, bundle=bundle, over=better)


@dataclass(frozen=True, kw_only=True)
class Desk:
    """A copy of the world's lake with a casework database of its own, to score in."""

    world: World
    lake: Lake
    casework: Engine

    @classmethod
    def open(cls, world: World, folder: Path, *, transactions: pa.Table | None = None) -> "Desk":
        """Copy the lake; with `transactions`, only these are in it."""
        lake = Lake(str(folder / "lake"), world.lake.portfolio)
        shutil.copytree(world.lake.url, lake.url)
        if transactions is not None:
            shutil.rmtree(Path(lake.uri("transactions")))
            lake.append("transactions", transactions, writer="ingest", number=0)
        return cls(
            world=world, lake=lake, casework=open_casework(f"sqlite:///{folder / 'casework.db'}")
        )

    def add(self, transactions: pa.Table) -> None:
        """Take further transactions in."""
        self.lake.append(
            "transactions",
            transactions,
            writer="ingest",
            number=self.lake.version("transactions") + 1,
        )

    def score(
        self,
        *,
        champion: Champion | None = None,
        portfolio: Portfolio | None = None,
        until: datetime | None = None,
    ) -> Scored:
        """Score with the champion."""
        return score(
            portfolio or self.world.portfolio,
            self.lake,
            self.casework,
            champion or self.world.champion,
            build_config=BUILD_CONFIG,
            now=NOW,
            until=until,
        )

    @property
    def scores(self) -> pd.DataFrame:
        """All scores, by transaction_id."""
        stored = self.lake.read("scores")
        assert stored is not None
        return pd.DataFrame(stored.to_pandas()).set_index("transaction_id").sort_index()

    @property
    def cases(self) -> list[CaseFacts]:
        return [
            alert_page(self.casework, one.id)
            for one in queue(self.casework, self.lake.portfolio, limit=1000)
        ]

    @property
    def alerted(self) -> dict[str, set[str]]:
        """The transactions of each account's alert."""
        return {
            one.alert.account_id: {row.transaction_id for row in one.transactions}
            for one in self.cases
        }
