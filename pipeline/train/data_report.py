"""What a training would learn from, looked at before it does: spans, labels, accounts, gaps.

What stands in the way is refused in a sentence that names the option which helps.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import duckdb
import numpy as np
import numpy.typing as npt

from features.schema import LABELS
from pipeline.arrays import Moments
from pipeline.evaluation.time_split import Split, split_by_time
from pipeline.lake.snapshot import last_moment, read_snapshot
from pipeline.lake.tables import Lake
from pipeline.portfolio import Portfolio
from pipeline.sources.card_numbers import masked
from pipeline.sources.delivery import first_row, quoted

MAX_BASE_RATE = 0.25  # beyond it the rows are no stream of payments, but a sample of it
MAX_ACCOUNT_SHARE = 0.05  # beyond it an account may be many, such as all guests
LEAST_FAR = timedelta(days=30)  # from the others, for a row to be an outlier
MIN_EXPECTED = 3.0  # frauds of weeks that have none, for their labels to be missing
DAY, WEEK = timedelta(days=1), timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class Week:
    """A calendar week (UTC, from Monday): its rows, how many have a label, how many are fraud."""

    start: datetime
    rows: int
    labelled: int
    frauds: int


@dataclass(frozen=True, kw_only=True)
class Outliers:
    """Rows far from all others in time: how many, and the one that is farthest."""

    rows: int
    example: str
    moment: datetime


@dataclass(frozen=True, kw_only=True)
class DataReport:
    """What is known at `until` (its rows stand before it), and how it would be split.

    `quantiles` are of as_of: 1 %, 50 %, 99 %. `missing` is the share of rows without a value, by
    column. `largest` is the account with most rows and its share.
    """

    until: datetime
    first: datetime
    rows: int
    quantiles: tuple[datetime, datetime, datetime]
    outliers: Outliers | None
    weeks: tuple[Week, ...]
    largest: tuple[str, float]
    missing: dict[str, float]
    corrected_after_scored: int
    split: Split
    train_frauds: int
    test_frauds: int

    @property
    def labelled(self) -> int:
        """Rows that have a label."""
        return sum(week.labelled for week in self.weeks)

    @property
    def frauds(self) -> int:
        """Rows known to be fraud."""
        return sum(week.frauds for week in self.weeks)

    @property
    def base_rate(self) -> float:
        """Share of frauds among the rows that have a label."""
        return self.frauds / max(1, self.labelled)

    @property
    def immature(self) -> tuple[Week, ...]:
        """The last mature weeks, where none has a fraud and the weeks before had some.

        Their labels are not in yet.
        """
        mature = [week for week in self.weeks if week.start + WEEK <= self.split.test_until]
        with_fraud = [place for place, week in enumerate(mature) if week.frauds]
        if not with_fraud:
            return ()
        before, after = mature[: with_fraud[-1] + 1], mature[with_fraud[-1] + 1 :]
        rate = sum(week.frauds for week in before) / sum(week.rows for week in before)
        expected = rate * sum(week.rows for week in after)
        return tuple(after) if expected >= MIN_EXPECTED else ()


def data_report(portfolio: Portfolio, lake: Lake, *, as_of: datetime | None = None) -> DataReport:
    """Look at what a training as of a moment would see; without, at all that is there.

    Raises ValueError where it could not learn or be judged, with what helps.
    """
    snapshot = read_snapshot(portfolio, lake, until=as_of, known_by=as_of)
    with _opened(lake, as_of or last_moment(portfolio, lake)) as connection:
        report = _look(connection, portfolio, snapshot.columns, as_of=as_of)
        frauds, known = _frauds(connection)
    split = split_by_time(report.first, report.until, label_delay=portfolio.label_delay)
    train, test = _counts(split, frauds, known, report.until)
    late = _corrected_after_scored(lake, split) if "corrected_at" in snapshot.columns else 0
    report = replace(
        report,
        split=split,
        train_frauds=train,
        test_frauds=test,
        corrected_after_scored=late,
    )
    _check(report, portfolio, frauds, known)
    return report


ROWS = "CREATE VIEW rows AS SELECT * FROM stored WHERE as_of < getvariable('until')"
KNOWN = """
    CREATE TABLE known AS SELECT transaction_id, max(known_at) AS label_known_at,
           arg_max(is_fraud, (known_at, is_fraud)) AS is_fraud
    FROM ledger WHERE known_at <= getvariable('until') GROUP BY transaction_id
"""
NEAR = """
    CREATE VIEW near AS SELECT * FROM rows
    WHERE as_of BETWEEN getvariable('earliest') AND getvariable('latest')
"""
SPAN = "SELECT min(as_of), max(as_of) FROM near"
FAR = """
    SELECT count(*), arg_max(transaction_id, away), arg_max(as_of, away) FROM (
        SELECT *, abs(epoch_us(as_of) - epoch_us(getvariable('earliest'))) AS away FROM rows
        WHERE as_of NOT BETWEEN getvariable('earliest') AND getvariable('latest'))
"""
WEEKS = """
    SELECT date_trunc('week', as_of) AS start, count(*), count(k.is_fraud),
           count(*) FILTER (k.is_fraud)
    FROM near LEFT JOIN known k USING (transaction_id) GROUP BY start ORDER BY start
"""
LARGEST = """
    SELECT account_id, count(*) AS most FROM rows GROUP BY account_id
    ORDER BY most DESC, account_id LIMIT 1
"""
FRAUDS = """
    SELECT as_of::TIMESTAMP AS as_of, label_known_at::TIMESTAMP AS known_at
    FROM rows JOIN known USING (transaction_id) WHERE is_fraud ORDER BY as_of
"""
CORRECTED = """
    SELECT transaction_id, corrected_at FROM stored WHERE corrected_at IS NOT NULL
    AND as_of >= $since::TIMESTAMPTZ AND as_of < $until::TIMESTAMPTZ
"""
AFTER_SCORED = """
    SELECT count(*) FROM corrected JOIN scores USING (transaction_id) WHERE corrected_at > scored_at
"""


@contextmanager
def _opened(lake: Lake, until: datetime) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the transactions before a moment in `rows`, and in `known` the labels."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        # Arrow, which gets the filters of a join, compares no text of Delta's
        connection.execute("SET disabled_optimizers = 'join_filter_pushdown'")
        labels = lake.read("labels")
        connection.register("stored", lake.dataset("transactions"))
        connection.register("ledger", LABELS.empty_table() if labels is None else labels)
        connection.execute("SET VARIABLE until = $until::TIMESTAMPTZ", {"until": until})
        connection.execute(ROWS)
        connection.execute(KNOWN)
        yield connection


def _look(
    connection: duckdb.DuckDBPyConnection,
    portfolio: Portfolio,
    columns: Sequence[str],
    *,
    as_of: datetime | None,
) -> DataReport:
    """All but the split, which needs the span without outliers first."""
    rows, quantiles = first_row(
        connection, "SELECT count(*), quantile_disc(as_of, [0.01, 0.5, 0.99]) FROM rows"
    )
    low, middle, high = quantiles
    far = max(LEAST_FAR, high - low)
    connection.execute("SET VARIABLE earliest = $at::TIMESTAMPTZ", {"at": low - far})
    connection.execute("SET VARIABLE latest = $at::TIMESTAMPTZ", {"at": high + far})
    connection.execute(NEAR)
    first, last = first_row(connection, SPAN)
    count, example, moment = first_row(connection, FAR)
    outliers = Outliers(rows=count, example=example, moment=moment) if count else None
    weeks = connection.execute(WEEKS).fetchall()
    account, most = first_row(connection, LARGEST)
    until = as_of or last + timedelta(microseconds=1)
    return DataReport(
        until=until,
        first=first,
        rows=rows,
        quantiles=(low, middle, high),
        outliers=outliers,
        weeks=tuple(
            Week(start=start.astimezone(UTC), rows=n, labelled=labelled, frauds=frauds)
            for start, n, labelled, frauds in weeks
        ),
        largest=(account, most / rows),
        missing=_missing(connection, columns, rows),
        corrected_after_scored=0,
        split=Split(train_from=first, train_until=until, test_from=until, test_until=until + DAY),
        train_frauds=0,
        test_frauds=0,
    )


def _missing(
    connection: duckdb.DuckDBPyConnection, columns: Sequence[str], rows: int
) -> dict[str, float]:
    """The share of rows without a value, of the columns that lack some, most first."""
    asked = [name for name in columns if name not in OWN]
    counts = ", ".join(f"count({quoted(name)})" for name in asked)
    found = connection.view("rows").aggregate(counts).fetchall()[0]
    present = dict(zip(asked, found, strict=True))
    lacking = {name: 1 - count / rows for name, count in present.items() if count < rows}
    return dict(sorted(lacking.items(), key=lambda one: -one[1]))


OWN = ("delivery", "row_digest", "corrected_at", "as_of")


def _frauds(connection: duckdb.DuckDBPyConnection) -> tuple[Moments, Moments]:
    """When the known frauds stand in history, and when each was known, in microseconds."""
    found = connection.execute(FRAUDS).fetchnumpy()
    moments = [np.asarray(found[name]).astype("datetime64[us]") for name in ("as_of", "known_at")]
    return moments[0], moments[1]


def _counts(split: Split, frauds: Moments, known: Moments, until: datetime) -> tuple[int, int]:
    """How many frauds a training would learn from, and be judged by."""
    trained = _between(frauds, split.train_from, split.train_until)
    judged = _between(frauds, split.test_from, split.test_until)
    train = trained & (known <= _moment(split.test_from))
    return int(train.sum()), int((judged & (known <= _moment(until))).sum())


def _between(moments: Moments, since: datetime, until: datetime) -> npt.NDArray[np.bool_]:
    return (moments >= _moment(since)) & (moments < _moment(until))


def _moment(moment: datetime) -> np.datetime64:
    return np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "us")


def _corrected_after_scored(lake: Lake, split: Split) -> int:
    """How many rows of the split were corrected after they were scored."""
    scores = lake.dataset("scores")
    if scores is None:
        return 0
    with duckdb.connect() as connection:
        connection.execute("SET disabled_optimizers = 'join_filter_pushdown'")
        connection.register("stored", lake.dataset("transactions"))
        connection.register("scores", scores)
        span = {"since": split.train_from, "until": split.test_until}
        connection.register("corrected", connection.sql(CORRECTED, params=span).to_arrow_table())
        (count,) = first_row(connection, AFTER_SCORED)
        return int(count)


def _check(report: DataReport, portfolio: Portfolio, frauds: Moments, known: Moments) -> None:
    """Refuse what no training can learn from or be judged by."""
    if not report.labelled:
        raise ValueError(
            f"no transaction of {portfolio.name} has a label that was known by "
            f"{_day(report.until)}; map is_fraud in [columns] of {portfolio.file}, and see whether "
            f"[labels] delay ({portfolio.labels.delay}) is right"
        )
    if not len(frauds):
        raise ValueError(
            f"none of the {report.labelled:,} labelled transactions of {portfolio.name} is fraud; "
            f"say in [labels] values of {portfolio.file} which of theirs mean fraud"
        )
    if not report.test_frauds or not report.train_frauds:
        raise ValueError(_no_frauds(report, portfolio, frauds, known))
    if report.base_rate > MAX_BASE_RATE and not portfolio.labels.prior:
        raise ValueError(
            f"{report.base_rate:.1%} of the labelled transactions of {portfolio.name} are fraud, "
            "more than any stream has, so its probabilities and expected losses would be far too "
            f"high; write the stream's own share under [labels] of {portfolio.file}, such as "
            f"prior = 0.002 (or prior = {report.base_rate:.2f} where it is right)"
        )


def _no_frauds(report: DataReport, portfolio: Portfolio, frauds: Moments, known: Moments) -> str:
    """The sentence for weeks without a fraud, with the moment that would do."""
    split = report.split
    if not report.test_frauds:
        lacking = f"the test weeks, {_day(split.test_from)} to {_day(split.test_until)}, have"
    else:
        lacking = (
            f"what is learned from, {_day(split.train_from)} to {_day(split.train_until)}, has"
        )
    last = _as_datetime(frauds[-1])
    found = f"{lacking} no known fraud, of which the last is of {_day(last)}"
    found += ": labels of later weeks may not be in yet" if not report.test_frauds else ""
    moment = earlier_moment(report, portfolio, frauds, known, last)
    if moment is None:
        return (
            f"{found}, and no earlier weeks have frauds both to learn from and to be judged by; "
            "ingest more labels"
        )
    return (
        f"{found}; judge on earlier weeks by strata train {portfolio.file} --as-of {_day(moment)}"
    )


def earlier_moment(
    report: DataReport,
    portfolio: Portfolio,
    frauds: Moments,
    known: Moments,
    last: datetime,
) -> datetime | None:
    """The latest day, as of which there are frauds to learn from and to be judged by."""
    told = _as_datetime(known.max())
    latest = max(last + portfolio.label_delay, told)
    day = latest.replace(hour=0, minute=0, second=0, microsecond=0) + DAY
    while day > report.first:
        try:
            split = split_by_time(report.first, day, label_delay=portfolio.label_delay)
        except ValueError:
            return None
        if day < report.until and all(_counts(split, frauds, known, day)):
            return day
        day -= DAY
    return None


def _as_datetime(moment: np.datetime64) -> datetime:
    seconds: datetime = moment.astype("datetime64[s]").item()
    return seconds.replace(tzinfo=UTC)


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"


def format_data_report(report: DataReport, portfolio: Portfolio) -> list[str]:
    """The report as a terminal shows it, a line a fact; a doubt begins with `doubt:`."""
    low, middle, high = map(_day, report.quantiles)
    lines = [
        f"  data  {report.rows:,} rows before {_day(report.until)}; 1 % lie before {low}, half "
        f"before {middle}, 99 % before {high}",
        f"  labels  {report.labelled:,} known, {report.frauds:,} frauds, base rate "
        f"{report.base_rate:.2%}; frauds a week: {_frauds_a_week(report)}",
    ]
    if report.missing:
        listed = [f"{name} {share:.0%}" for name, share in report.missing.items()]
        lines.append(f"  missing  {', '.join(listed)}")
    return [*lines, *(f"  doubt: {one}" for one in doubts(report, portfolio))]


def _frauds_a_week(report: DataReport) -> str:
    counts = sorted(week.frauds for week in report.weeks)
    return f"{counts[0]:,} to {counts[-1]:,}, half the weeks up to {counts[len(counts) // 2]:,}"


def doubts(report: DataReport, portfolio: Portfolio) -> Iterator[str]:
    """What a person should look at, each with what helps."""
    if report.outliers:
        one = report.outliers
        yield (
            f"rows far from all others in time, neither learned from nor judged by: {one.rows:,}, "
            f"such as {masked(one.example)} of {_day(one.moment)}"
        )
    if report.immature:
        first, last = report.immature[0], report.immature[-1]
        yield (
            f"the weeks from {_day(first.start)} to {_day(last.start + WEEK)} have no fraud, where "
            "as many rows before had some: their labels may not be in yet; judge on earlier weeks "
            f"by --as-of {_day(first.start + portfolio.label_delay)}"
        )
    account, share = report.largest
    if share > MAX_ACCOUNT_SHARE:
        yield (
            f"the account {masked(account)} has {share:.0%} of the rows: perhaps one name for "
            "many, such as all guests; map account_id to what tells them apart, or leave them out "
            "by where"
        )
    if report.corrected_after_scored:
        yield (
            f"rows corrected after they were scored: {report.corrected_after_scored:,}; what they "
            "say now is learned from, what was scored keeps its score"
        )
    if portfolio.labels.prior:
        yield (
            f"probabilities follow prior = {portfolio.labels.prior:g}; the figures below are of "
            f"the rows as they are, {report.base_rate:.2%} of them fraud"
        )
