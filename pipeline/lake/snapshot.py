"""What the lake knew at a moment, with its features: the one way in for training, backtest and scoring."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from features.build import BuildConfig, build
from features.declarations import Group
from features.digest import digest
from features.engines.protocol import Source
from features.schema import ARROW_TYPES, LABELS
from pipeline.lake.tables import Lake
from pipeline.portfolio import Portfolio

MOMENT = ARROW_TYPES["time"]


class NoDataError(ValueError):
    """The lake has nothing of what is asked for yet."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A portfolio's transactions with as_of before `until` and its labels, both as of a version, and its groups of facts."""

    lake: Lake
    version: int
    label_version: int
    columns: tuple[str, ...]
    groups: tuple[Group, ...]
    until: datetime | None = None

    @property
    def feature_digest(self) -> str:
        """Fingerprint of the features built of it."""
        return digest(self.groups)

    @cached_property
    def labels(self) -> pa.Table:
        """All labels."""
        stored = (
            self.lake.read("labels", version=self.label_version)
            if self.label_version >= 0
            else None
        )
        return LABELS.empty_table() if stored is None else stored

    def transactions(
        self,
        columns: Sequence[str],
        *,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> pa.Table:
        """Read columns of the transactions with as_of from `since` to before `until`."""
        where = (
            pc.field("as_of") >= pa.scalar(since, MOMENT) if since is not None else pc.scalar(True)
        )
        for bound in (until, self.until):
            where = (
                where & (pc.field("as_of") < pa.scalar(bound, MOMENT))
                if bound is not None
                else where
            )
        return self.lake.read("transactions", columns=columns, where=where, version=self.version)

    @property
    def sources(self) -> tuple[Source, Source]:
        """The transactions and the labels for `features.build`, unread."""
        labels = (
            self.lake.source("labels", version=self.label_version)
            if self.label_version >= 0
            else self.labels
        )
        return self.lake.source("transactions", version=self.version), labels

    def features(self, *, build_config: BuildConfig, since: datetime | None = None) -> pa.Table:
        """Build the features of the transactions from `since` on.

        As many earlier ones as it needs are their history.
        """
        transactions, labels = self.sources
        return build(
            transactions, labels, self.groups, config=build_config, since=since, until=self.until
        )


def read_snapshot(portfolio: Portfolio, lake: Lake, *, until: datetime | None = None) -> Snapshot:
    """Find the transactions with as_of before `until` and all labels. Raises NoDataError when none was ingested."""
    bound = "" if until is None else f" before {until:%Y-%m-%dT%H:%M:%SZ}"
    nothing = f"portfolio {portfolio.name} has no transactions{bound}; run strata ingest {portfolio.file} first"
    if not lake.exists("transactions"):
        raise NoDataError(nothing)
    columns = lake.columns("transactions")
    snapshot = Snapshot(
        lake=lake,
        version=lake.version("transactions"),
        label_version=lake.version("labels"),
        columns=tuple(columns),
        groups=portfolio.groups(columns),
        until=until,
    )
    if not snapshot.transactions(["as_of"]).num_rows:
        raise NoDataError(nothing)
    return snapshot


def last_moment(portfolio: Portfolio, lake: Lake) -> datetime:
    """The moment after the last row's as_of: everything ingested lies before it."""
    stored = lake.read("transactions", columns=["as_of"])
    if stored is None or not stored.num_rows:
        raise NoDataError(
            f"portfolio {portfolio.name} has no transactions; run strata ingest {portfolio.file} first"
        )
    return pc.max(stored["as_of"]).as_py() + timedelta(microseconds=1)  # type: ignore[no-any-return]
