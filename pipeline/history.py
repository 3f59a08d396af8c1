"""What the lake knew at a moment, with its features: the one way in for training, backtest and scoring."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from features.build import build, digest, lookback
from features.schema import LABELS
from features.windows import Group
from pipeline.lake import Lake
from pipeline.portfolio import Portfolio


class NoDataError(ValueError):
    """The lake has nothing of what is asked for yet."""


@dataclass(frozen=True, kw_only=True)
class History:
    """A portfolio's transactions and labels up to a moment, and the groups of facts it has."""

    transactions: pa.Table
    labels: pa.Table
    groups: tuple[Group, ...]

    @property
    def feature_digest(self) -> str:
        """Fingerprint of the features built of it."""
        return digest(self.groups)

    def features(self, *, ip_database: Path, since: datetime | None = None) -> pa.Table:
        """Build the features of the transactions from `since` on; as many earlier ones as it needs are their history."""
        rows = self.transactions
        if since is not None:
            rows = rows.filter(pc.field("as_of") >= pa.scalar(since - lookback(self.groups), pa.timestamp("us", tz="UTC")))
        return build(rows, self.labels, self.groups, ip_database=ip_database, since=since)


def read_history(portfolio: Portfolio, lake: Lake, *, until: datetime | None = None) -> History:
    """Read the transactions with as_of before `until` and all labels. Raises NoDataError when none was ingested."""
    where = None if until is None else pc.field("as_of") < pa.scalar(until, pa.timestamp("us", tz="UTC"))
    transactions = lake.read("transactions", where=where)
    if transactions is None or not transactions.num_rows:
        bound = "" if until is None else f" before {until:%Y-%m-%dT%H:%M:%SZ}"
        raise NoDataError(f"portfolio {portfolio.name} has no transactions{bound}; run strata ingest {portfolio.file} first")
    labels = lake.read("labels")
    groups = portfolio.groups(transactions.column_names)
    return History(transactions=transactions, labels=LABELS.empty_table() if labels is None else labels, groups=groups)


def last_moment(portfolio: Portfolio, lake: Lake) -> datetime:
    """The moment after the last row's as_of: everything ingested lies before it."""
    stored = lake.read("transactions", columns=["as_of"])
    if stored is None or not stored.num_rows:
        raise NoDataError(f"portfolio {portfolio.name} has no transactions; run strata ingest {portfolio.file} first")
    return pc.max(stored["as_of"]).as_py() + timedelta(microseconds=1)  # type: ignore[no-any-return]
