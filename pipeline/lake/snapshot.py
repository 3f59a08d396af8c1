"""What the lake knew at a moment, with its features: the one way in to learn or score."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from features.build import BuildConfig, Kept, build, keep
from features.declarations import Group
from features.digest import digest
from features.engines.protocol import Source
from features.schema import ARROW_TYPES, LABELS
from features.sql.currency import Rates
from pipeline.lake.currency import find_rates
from pipeline.lake.tables import Lake
from pipeline.portfolio import Portfolio

MOMENT = ARROW_TYPES["time"]


class NoDataError(ValueError):
    """The lake has nothing of what is asked for yet."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A portfolio's transactions with as_of before `until`, and its labels, both as of a version.

    `first` is the earliest as_of, `groups` are the facts that the columns allow. Of a row that was
    corrected after `known_by` it has the version that stood then; without, each row as it is now.
    Features have amounts in `currency`, where that is known: converted by `rates` where there are
    several.
    """

    lake: Lake
    version: int
    label_version: int
    columns: tuple[str, ...]
    groups: tuple[Group, ...]
    first: datetime
    until: datetime | None = None
    known_by: datetime | None = None
    rates: Rates | None = None
    currency: str = ""
    _read: list[tuple[datetime, pa.Table]] = field(
        default_factory=list, init=False, repr=False, compare=False
    )

    @property
    def feature_digest(self) -> str:
        """Fingerprint of the features built of it."""
        return digest(self.groups)

    @cached_property
    def labels(self) -> pa.Table:
        """All labels."""
        if self.label_version < 0:
            return LABELS.empty_table()
        stored = self.lake.read("labels", version=self.label_version)
        return LABELS.empty_table() if stored is None else stored

    def transactions(
        self,
        columns: Sequence[str],
        *,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> pa.Table:
        """Read columns of the transactions with as_of from `since` to before `until`."""
        where = pc.scalar(True)
        if since is not None:
            where = where & (pc.field("as_of") >= pa.scalar(since, MOMENT))
        for bound in (until, self.until):
            if bound is not None:
                where = where & (pc.field("as_of") < pa.scalar(bound, MOMENT))
        if self._earlier is None:
            return self.lake.read(
                "transactions", columns=columns, where=where, version=self.version
            )
        where_known = where & ~self._corrected_since
        rows = self.lake.read(
            "transactions", columns=columns, where=where_known, version=self.version
        )
        return pa.concat_tables([rows, self._earlier.filter(where).select(list(columns))])

    @property
    def _corrected_since(self) -> pc.Expression:
        """Whether a version was not known yet at `known_by`."""
        later = pc.field("corrected_at") > pa.scalar(self.known_by, MOMENT)
        return ~pc.field("corrected_at").is_null() & later

    @cached_property
    def _earlier(self) -> pa.Table | None:
        """The versions that stood at `known_by` and were replaced since, if there are any."""
        if self.known_by is None or "corrected_at" not in self.columns:
            return None
        now = self.lake.read("transactions", where=self._corrected_since, version=self.version)
        if now is None or not now.num_rows:
            return None
        ids = now["transaction_id"].combine_chunks()
        rows = self.lake.read("versions", where=pc.field("transaction_id").isin(ids))
        if rows is None:
            return None
        for place in now.schema:
            if place.name not in rows.column_names:
                rows = rows.append_column(place, pa.nulls(rows.num_rows, place.type))
        is_replaced = pc.field("replaced_at") > pa.scalar(self.known_by, MOMENT)
        return rows.filter(is_replaced & ~self._corrected_since)

    def columns_of(self, rows: pa.Table, names: Sequence[str]) -> pa.Table:
        """Columns that the features do not have, of one row of theirs or more, in the rows' order.

        What was read for some of the rows and columns serves whoever asks for fewer.
        """
        since = pc.min(rows["as_of"]).as_py()
        read = [
            table
            for start, table in self._read
            if start <= since and set(names) <= set(table.column_names)
        ]
        if not read:
            read = [self.transactions(["transaction_id", *names], since=since)]
            self._read.append((since, read[0]))
        known = read[0]["transaction_id"].combine_chunks()
        return read[0].select(names).take(pc.index_in(rows["transaction_id"], known))

    @property
    def sources(self) -> tuple[Source, Source]:
        """The transactions and the labels for `features.build`, unread."""
        labels: Source = self.labels
        if self.label_version >= 0:
            labels = self.lake.source("labels", version=self.label_version)
        if self._earlier is not None:
            return self.transactions(self.columns), labels
        return self.lake.source("transactions", version=self.version), labels

    def features(
        self,
        *,
        build_config: BuildConfig,
        since: datetime | None = None,
        sources: tuple[Source, Source] | None = None,
        kept: Kept | None = None,
    ) -> pa.Table:
        """Build the features of the transactions from `since` on.

        As many earlier ones as it needs are their history; with `kept` those of the `sources`.
        """
        transactions, labels = sources or self.sources
        return build(
            transactions,
            labels,
            self.groups,
            config=build_config,
            since=since,
            until=self.until,
            rates=self.rates,
            kept=kept,
        )

    def keep(self, *, build_config: BuildConfig, until: datetime) -> Kept:
        """Pass over the transactions before `until`, and keep what later ones need of them."""
        return keep(*self.sources, self.groups, config=build_config, until=until, rates=self.rates)


def read_snapshot(
    portfolio: Portfolio,
    lake: Lake,
    *,
    until: datetime | None = None,
    known_by: datetime | None = None,
) -> Snapshot:
    """Find the transactions with as_of before `until` and all labels; no row is read yet.

    With `known_by` each row is as it was known at that moment, before any later correction.
    Raises NoDataError when none was ingested, PortfolioError where they are in several currencies
    without rates.
    """
    label_version = lake.version("labels")  # first: whatever it has is of transactions read here
    version = lake.version("transactions")
    bounds = lake.bounds("transactions", "as_of", version=version)
    if bounds is None or (until is not None and bounds[0] >= until):
        raise _nothing(portfolio, "" if until is None else f" before {until:%Y-%m-%dT%H:%M:%SZ}")
    columns = lake.columns("transactions")
    rates, currency = find_rates(portfolio, lake, version=version)
    return Snapshot(
        lake=lake,
        version=version,
        label_version=label_version,
        columns=tuple(columns),
        groups=portfolio.groups(columns),
        first=bounds[0],
        until=until,
        known_by=known_by,
        rates=rates,
        currency=currency,
    )


def last_moment(portfolio: Portfolio, lake: Lake) -> datetime:
    """The moment after the last row's as_of: everything ingested lies before it."""
    bounds = lake.bounds("transactions", "as_of")
    if bounds is None:
        raise _nothing(portfolio)
    last: datetime = bounds[1]
    return last + timedelta(microseconds=1)


def _nothing(portfolio: Portfolio, before: str = "") -> NoDataError:
    return NoDataError(
        f"portfolio {portfolio.name} has no transactions{before}; "
        f"run strata ingest {portfolio.file} first"
    )
