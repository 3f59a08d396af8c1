"""A seeded world of accounts, places and retailers with planted fraud: `strata simulate`."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.simulate.geography import read_geography
from pipeline.simulate.legitimate import NONE, legitimate_payments
from pipeline.simulate.population import DAY, make_world
from pipeline.simulate.scenarios import SCENARIOS, planted_frauds
from pipeline.simulate.source_table import arrivals, draw_declined, source_table, truth_table

__all__ = ["SimulateConfig", "Simulation", "scenarios", "simulate", "write"]

scenarios: dict[str, str] = SCENARIOS
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_FRAUD_RATE = 0.2
MIN_TRANSACTIONS, MIN_DAYS = 100, 7


@dataclass(frozen=True, kw_only=True)
class SimulateConfig:
    """What world to make; equal configurations make equal worlds.

    `fraud_rate` and `unlabelled_share` are shares of all transactions.

    >>> SimulateConfig(days=3)
    Traceback (most recent call last):
    ValueError: days must be at least 7, not 3; give a longer world
    """

    seed: int = 1
    transactions: int = 200_000
    start: datetime = datetime(2025, 1, 1, tzinfo=UTC)
    days: int = 90
    fraud_rate: float = 0.005
    unlabelled_share: float = 0.05

    def __post_init__(self) -> None:
        """Refuse what no world can be made of."""
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, not {self.seed}; give 0 or more")
        if self.transactions < MIN_TRANSACTIONS:
            found = f"transactions must be at least {MIN_TRANSACTIONS}, not {self.transactions}"
            raise ValueError(f"{found}; give more")
        if self.days < MIN_DAYS:
            raise ValueError(
                f"days must be at least {MIN_DAYS}, not {self.days}; give a longer world"
            )
        if self.start.tzinfo is None:
            found = f"start must have a time zone, and {self.start.isoformat()} has none"
            raise ValueError(f"{found}; add +00:00 for UTC")
        if not 0 <= self.fraud_rate <= MAX_FRAUD_RATE:
            found = f"fraud_rate must be between 0 and {MAX_FRAUD_RATE}, not {self.fraud_rate}"
            raise ValueError(f"{found}; it is a share, 0.005 is 0.5 %")
        if not 0 <= self.unlabelled_share <= 1:
            found = f"unlabelled_share must be between 0 and 1, not {self.unlabelled_share}"
            raise ValueError(f"{found}; it is a share, 0.05 is 5 %")


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """A world's transactions as its source knows them at the end, and the truth nobody has.

    They are ordered by known_at.
    """

    config: SimulateConfig
    transactions: pa.Table
    truth: pa.Table  # transaction_id, scenario (null: legitimate), is_fraud


def simulate(config: SimulateConfig) -> Simulation:
    """Make a world and let it run.

    >>> world = simulate(SimulateConfig(transactions=1000, fraud_rate=0.02))
    >>> world.transactions.num_rows, sum(world.truth["is_fraud"].to_pylist())
    (1000, 20)
    """
    random = np.random.default_rng(config.seed)
    start = (config.start - EPOCH) // timedelta(microseconds=1)
    world = make_world(
        random,
        read_geography(),
        transactions=config.transactions,
        start=start,
        end=start + config.days * DAY,
    )
    frauds = round(config.transactions * config.fraud_rate)
    legitimate = legitimate_payments(random, world, config.transactions - frauds)
    legitimate = legitimate.assign(scenario=None, warned_at=NONE)
    payments = pd.concat(
        [legitimate, planted_frauds(random, world, legitimate, frauds)], ignore_index=True
    )
    payments["known_at"] = arrivals(random, payments["time"].to_numpy(), end=world.end)
    payments = payments.sort_values(
        ["known_at", "time", "account"], kind="stable", ignore_index=True
    )
    # A generator of its own, so that the rest of a world stays what it was.
    payments["declined"] = draw_declined(np.random.default_rng([config.seed, 2]), payments)
    transactions = source_table(random, world, payments, unlabelled_share=config.unlabelled_share)
    return Simulation(config=config, transactions=transactions, truth=truth_table(payments))


def write(simulation: Simulation, folder: Path) -> Path:
    """Write transactions.parquet, truth.parquet and, last, portfolio.toml; return its path.

    A portfolio of the same world stays as it is, with whatever its owner changed in it.
    Raises ValueError where the folder holds the portfolio of another world.
    """
    portfolio = folder / "portfolio.toml"
    text = _portfolio(simulation)
    world = text.splitlines()[0]
    if portfolio.exists() and portfolio.read_text(encoding="utf-8").split("\n")[0] != world:
        raise ValueError(
            f"{portfolio} is the portfolio of another data set than {world[2:]!r}; "
            "choose another folder or remove it"
        )
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(simulation.transactions, folder / "transactions.parquet")
    pq.write_table(simulation.truth, folder / "truth.parquet")
    if not portfolio.exists():
        portfolio.write_text(text, encoding="utf-8")
    return portfolio


def _portfolio(simulation: Simulation) -> str:
    """Describe the data set; the first line says which world it is."""
    config = simulation.config
    return f"""\
# world of seed {config.seed}: {config.transactions} transactions in {config.days} days from
# {config.start.isoformat()}, \
{config.fraud_rate} fraud, {config.unlabelled_share} never labelled
name = "world"

[source]
path = "transactions.parquet"   # its columns have Strata's own names, so there is no [columns]
delay = "1h"                    # most rows reach us within minutes

[groups]
order = ["amount", "clock", "ip", "location", "retailer", "receiver", "sender", "credit", "social"]

[review]
capacity_per_day = {_capacity_per_day(simulation)}           # alerts that the analysts can review
minutes = 3.0                   # of one review
cost = 2.5                      # of one review, EUR
friction_cost = 5.0             # of stopping a legitimate customer, EUR
recovered_share = 0.6           # of the loss, when fraud is caught

[rules.huge_amount]
when = "amount > 5000"
action = "alert"
"""


def _capacity_per_day(simulation: Simulation) -> int:
    """Return twice the daily number of accounts with fraud, and at least 10."""
    frauds = simulation.transactions.filter(simulation.truth["is_fraud"])
    days = pc.floor_temporal(frauds["event_time"], unit="day")
    cases: int = (
        pa.table({"account": frauds["account_id"], "day": days})
        .group_by(["account", "day"])
        .aggregate([])
        .num_rows
    )
    return max(10, round(2 * cases / simulation.config.days))
