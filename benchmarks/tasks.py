"""What models are measured on: the Handbook's weekly folds, a simulated world, S-FFSD.

The Handbook comes with its published features or with ours.

Features are built once and kept in a folder. `EARLIER` leads to weeks before the judged ones: there
settings are chosen.
"""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import sffsd
from features.declarations import Group, fact
from pipeline.arrays import BoolArray
from pipeline.evaluation.time_split import labelled_rows, split_by_time
from pipeline.lake.snapshot import Snapshot, last_moment, read_snapshot
from pipeline.lake.tables import Lake
from pipeline.portfolio import read_portfolio
from pipeline.settings import Settings

ROOT = Path(__file__).parent.parent
PUBLISHED_SQL = Path(__file__).with_name("published.sql")
EARLIER = timedelta(days=35)
PUBLISHED = {
    "amount": ("TX_AMOUNT",),
    "clock": ("TX_DURING_WEEKEND", "TX_DURING_NIGHT"),
    "sender": tuple(
        f"CUSTOMER_ID_{what}_{days}DAY_WINDOW"
        for what in ("NB_TX", "AVG_AMOUNT")
        for days in (1, 7, 30)
    ),
    "retailer": tuple(
        f"TERMINAL_ID_{what}_{days}DAY_WINDOW" for what in ("NB_TX", "RISK") for days in (1, 7, 30)
    ),
}


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Built features of the rows to learn from, [R], and to be judged on, with their labels."""

    train: pa.Table
    y: BoolArray
    test: pa.Table
    truth: BoolArray

    @property
    def accounts(self) -> npt.NDArray[np.str_]:
        """Accounts of the rows to learn from, [R]."""
        return accounts(self.train)


@dataclass(frozen=True, kw_only=True)
class Task:
    """The folds of one data set, and the groups that its features come in."""

    name: str
    groups: tuple[Group, ...]
    folds: tuple[Fold, ...]
    label_delay: timedelta = timedelta()


def accounts(rows: pa.Table) -> npt.NDArray[np.str_]:
    """Account of each row, [R]."""
    return np.asarray(rows["account_id"].to_numpy(zero_copy_only=False).astype(str))


def handbook(
    shared: Path, home: Path, *, published: bool, back: timedelta = timedelta(), days: int = 7
) -> Task:
    """The judge's four folds, or folds as long `back` before them, with `days` to learn from.

    With the 15 published features or all of ours.
    """
    file = shared / "data" / "handbook" / "transactions.parquet"
    plan = _judged_rows(shared, file, home, back)
    snapshot = _ingested(ROOT / "examples" / "handbook.toml", home / "handbook")
    if published:
        groups = tuple(_published_group(name) for name in PUBLISHED)
        features = _kept(home / "published.parquet", lambda: published_features(file))
    else:
        groups = snapshot.groups
        features = _kept(home / "handbook.parquet", lambda: _built(snapshot, home / "handbook"))
    place = pd.Series(
        np.arange(features.num_rows),
        index=features["transaction_id"].to_numpy(zero_copy_only=False).astype(int),
    )
    rows = pd.read_parquet(file).set_index("TRANSACTION_ID")
    fraud, moment = rows["TX_FRAUD"].astype(bool), rows["TX_DATETIME"]
    folds = []
    for _, dealt in plan.groupby("fold"):
        ids = {
            part: np.sort(own["TRANSACTION_ID"].to_numpy()) for part, own in dealt.groupby("part")
        }
        until = moment[ids["train"]].max().ceil("D")
        since = until - timedelta(days=days)
        ids["train"] = np.sort(moment.index[(moment >= since) & (moment < until)].to_numpy())
        parts = {part: features.take(place[own].to_numpy()) for part, own in ids.items()}
        truth = {part: fraud[own].to_numpy() for part, own in ids.items()}
        folds.append(
            Fold(train=parts["train"], y=truth["train"], test=parts["test"], truth=truth["test"])
        )
    return Task(
        name=f"handbook, {'published' if published else 'own'} features",
        groups=groups,
        folds=tuple(folds),
    )


def world(home: Path, *, seed: int = 11, rows: int = 150_000, rate: float = 0.005) -> Task:
    """A simulated world of that share of fraud, split as a training splits it."""
    folder = home / f"world-{seed}-{rows}-{rate}"
    if not (folder / "portfolio.toml").is_file():
        shape = ["--transactions", str(rows), "--fraud-rate", str(rate)]
        words = ["simulate", "--seed", str(seed), *shape, "--out", str(folder)]
        sffsd.strata(words, home)
    snapshot = _ingested(folder / "portfolio.toml", folder)
    portfolio = read_portfolio(folder / "portfolio.toml")
    until = last_moment(portfolio, snapshot.lake)
    split = split_by_time(snapshot.first, until, label_delay=portfolio.label_delay)
    features = _kept(folder / "features.parquet", lambda: _built(snapshot, folder))
    train, y = labelled_rows(
        features, snapshot.labels, split.train_from, split.train_until, known_by=split.test_from
    )
    test, truth = labelled_rows(
        features, snapshot.labels, split.test_from, split.test_until, known_by=until
    )
    return Task(
        name="simulated world",
        groups=snapshot.groups,
        label_delay=portfolio.label_delay,
        folds=(Fold(train=train, y=y, test=test, truth=truth),),
    )


def s_ffsd(shared: Path, home: Path, *, within_training: bool = False) -> Task:
    """S-FFSD by time, its test labels never known to a feature.

    Or the same inside its first 60 %.
    """
    task = sffsd.read_task(
        shared / "data" / "s-ffsd" / "transactions.parquet", within_training=within_training
    )
    folder = home / f"s-ffsd-{'within' if within_training else 'whole'}"
    portfolio = sffsd.prepare(task, "never", folder)
    snapshot = _ingested(portfolio, folder)
    features = _kept(folder / "features.parquet", lambda: _built(snapshot, folder))
    since, until = sffsd.START, task.test_from
    train, y = labelled_rows(features, snapshot.labels, since, until, known_by=until)
    judged = task.test.set_index("transaction_id")["is_fraud"].astype(bool)
    ids = features["transaction_id"].to_pandas()
    test = features.filter(pa.array(ids.isin(judged.index)))
    truth = judged[test["transaction_id"].to_pandas()].to_numpy()
    return Task(
        name="s-ffsd",
        groups=snapshot.groups,
        folds=(Fold(train=train, y=y, test=test, truth=truth),),
    )


def _ingested(file: Path, home: Path) -> Snapshot:
    sffsd.strata(["ingest", str(file)], home)  # again changes nothing
    portfolio = read_portfolio(file)
    return read_snapshot(
        portfolio, Lake(Settings.read({"STRATA_HOME": str(home)}).lake_url, portfolio.name)
    )


def _built(snapshot: Snapshot, home: Path) -> pa.Table:
    return snapshot.features(build_config=Settings.read({"STRATA_HOME": str(home)}).build_config)


def _kept(file: Path, make: Callable[[], pa.Table]) -> pa.Table:
    if not file.is_file():
        pq.write_table(make(), file)
    return pq.read_table(file)


def _judged_rows(shared: Path, file: Path, home: Path, back: timedelta) -> pd.DataFrame:
    """TRANSACTION_ID, fold and part, as the judge deals them.

    Of folds further back, as it would have then.
    """
    home.mkdir(parents=True, exist_ok=True)
    moved, plan = home / "moved.parquet", home / "folds.parquet"
    transactions = pd.read_parquet(file)
    transactions.assign(TX_DATETIME=transactions["TX_DATETIME"] + back).to_parquet(moved)
    judge = shared / "judge" / "handbook.py"
    subprocess.run([sys.executable, str(judge), "folds", str(moved), str(plan)], check=True)
    return pd.read_parquet(plan)


def published_features(file: Path) -> pa.Table:
    """The Handbook's 15 features of the rows in a file."""
    return duckdb.sql(
        PUBLISHED_SQL.read_text(encoding="utf-8"), params=[str(file)]
    ).to_arrow_table()


def _published_group(name: str) -> Group:
    features = tuple(fact(column, column, column) for column in PUBLISHED[name])
    return Group(name=name, meaning=name, needs=(), features=features)
