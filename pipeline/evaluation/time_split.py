"""Train, test and the gap between them, by time: a model is judged on weeks it could not know."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import BoolArray, Moments

TEST_SHARE = 0.25
MIN_TEST = timedelta(days=7)
# of the days that are learned from, those held out at first
LAST_DAYS, MOST_DAYS, MIN_FRAUDS = 0.15, 1 / 3, 50


@dataclass(frozen=True, kw_only=True)
class Split:
    """Half-open spans [from, until) of as_of; training labels had to be known by `test_from`."""

    train_from: datetime
    train_until: datetime
    test_from: datetime
    test_until: datetime

    def __post_init__(self) -> None:
        moments = [self.train_from, self.train_until, self.test_from, self.test_until]
        if (
            moments != sorted(moments)
            or self.train_from == self.train_until
            or self.test_from == self.test_until
        ):
            found = ", ".join(f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in moments)
            raise ValueError(
                f"train and test spans must follow one another, not {found}; "
                "give from before until, train before test"
            )


def split_by_time(first: datetime, as_of: datetime, *, label_delay: timedelta) -> Split:
    """Split the history: the last quarter with mature labels is the test, at least a week.

    Between train and test lies the label delay: on the day the test begins nothing younger was
    labelled.

    >>> from datetime import UTC
    >>> day = lambda n: datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days=n)
    >>> split = split_by_time(day(0), day(87), label_delay=timedelta(days=7))
    >>> split.train_until == day(53), split.test_from == day(60), split.test_until == day(80)
    (True, True, True)
    """
    mature_until = as_of - label_delay
    test_from = mature_until - max((mature_until - first) * TEST_SHARE, MIN_TEST)
    if test_from - label_delay <= first:
        span = (as_of - first) / timedelta(days=1)
        needed = (2 * label_delay + 2 * MIN_TEST) / timedelta(days=1)
        raise ValueError(
            f"{span:.1f} days of history are too few to train and judge; "
            f"at least {needed:.0f} are needed: ingest more"
        )
    return Split(
        train_from=first,
        train_until=test_from - label_delay,
        test_from=test_from,
        test_until=mature_until,
    )


def last_days(as_of: Moments, fraud: BoolArray) -> BoolArray | None:
    """Say which rows are of the last days, to be held out from a first training.

    They are 15 % of the time that the rows span, or more for 50 frauds, up to a third. None where
    the last third has fewer, or the days before have none.

    >>> import numpy as np
    >>> as_of = np.arange("2025-01-01", "2025-01-21", dtype="datetime64[D]").repeat(100)
    >>> often = np.arange(2000) % 5 == 0
    >>> last_days(as_of, often).sum(), last_days(as_of, np.arange(2000) % 10 == 0).sum()
    (np.int64(300), np.int64(500))
    >>> last_days(as_of, np.arange(2000) % 20 == 0) is None
    True
    """
    days = (as_of - as_of.min()) / np.timedelta64(1, "D")
    span, own = days.max(), np.sort(days[fraud])
    if len(own) < MIN_FRAUDS or own[-MIN_FRAUDS] < span * (1 - MOST_DAYS):
        return None
    late = np.asarray(days >= min(span * (1 - LAST_DAYS), own[-MIN_FRAUDS]))
    return late if fraud[~late].any() else None


def held_out_accounts(accounts: npt.NDArray[np.str_], *, share: float, seed: int) -> BoolArray:
    """Say which rows are of a random share of the accounts: they stop the training."""
    names, places = np.unique(accounts, return_inverse=True)
    chosen = np.random.default_rng(seed).random(len(names)) < share
    return np.asarray(chosen[places])


def known_labels(transaction_ids: pa.ChunkedArray, labels: pa.Table, *, by: datetime) -> pd.Series:
    """Return each transaction's label as it was known at a moment; null where none was.

    A later word reverses an earlier one; of two words of one moment fraud wins.
    """
    moment = pa.scalar(by, labels.schema.field("known_at").type)
    known = labels.filter(pc.field("known_at") <= moment)
    in_order = known.sort_by([("known_at", "ascending"), ("is_fraud", "ascending")])
    words = in_order.select(["transaction_id", "is_fraud"]).to_pandas()
    latest = words.drop_duplicates("transaction_id", keep="last")
    last: pd.Series = latest.set_index("transaction_id")["is_fraud"]
    label: pd.Series = last.reindex(transaction_ids.to_pandas()).astype("boolean")
    return label


def rows_between(features: pa.Table, since: datetime, until: datetime) -> BoolArray:
    """Say which rows have their as_of in [since, until)."""
    moment = pa.timestamp("us", tz="UTC")
    as_of = features["as_of"]
    inside = pc.and_(
        pc.greater_equal(as_of, pa.scalar(since, moment)), pc.less(as_of, pa.scalar(until, moment))
    )
    return np.asarray(inside.to_numpy(zero_copy_only=False), dtype=np.bool_)


def labelled_rows(
    features: pa.Table, labels: pa.Table, since: datetime, until: datetime, *, known_by: datetime
) -> tuple[pa.Table, BoolArray]:
    """Return the span's rows whose label was known by a moment, and those labels [R]."""
    rows = features.filter(pa.array(rows_between(features, since, until)))
    known = known_labels(rows["transaction_id"], labels, by=known_by)
    has_label = known.notna().to_numpy()
    is_fraud = known.to_numpy(dtype=np.bool_, na_value=False)
    return rows.filter(pa.array(has_label)), is_fraud[has_label]
