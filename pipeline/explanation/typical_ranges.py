"""What is usual: of a fact in the account's own earlier transactions, else in the portfolio's.

Only a fact that rests on nothing but the account's own transactions has an own range: it is built
again for the accounts that are asked for, from their transactions alone, which is the same as
building it from all of them and much less work.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from features.build import KEYS, shown_features
from features.declarations import CIRCLE, LOOKBACK, Group, microseconds
from pipeline.arrays import FloatArray

# of the account's earlier transactions: fewer say nothing, more say nothing new
MIN_ROWS, MAX_ROWS = 5, 100
SPAN = timedelta(microseconds=microseconds(LOOKBACK))
# what is under way has not become usual: twenty payments of a fraud are no habit
APART = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class TypicalRange:
    """Where the middle half of a fact's values lies.

    `own`: of the account's, not of the portfolio's.
    """

    low: float
    high: float
    own: bool


def typical_ranges(features: pa.Table, groups: Sequence[Group]) -> dict[str, TypicalRange]:
    """Return what is usual of each number in these rows; one that they do not have is left out."""
    found: dict[str, TypicalRange] = {}
    for name in _numbers(groups):
        values = features[name].drop_null().to_numpy()
        if len(values):
            low, high, _ = _middle_half(values[None, :])
            found[name] = TypicalRange(low=float(low[0]), high=float(high[0]), own=False)
    return found


def typical_ranges_of_accounts(
    features: pa.Table, earlier: pa.Table
) -> list[dict[str, TypicalRange]]:
    """Return for each row what is usual of its account's facts.

    It is learned from the `earlier` rows that stand a day before it or more. Of these the latest
    MAX_ROWS within the look-back count; a fact that fewer than MIN_ROWS of them have is left out.
    """
    ranges: list[dict[str, TypicalRange]] = [{} for _ in range(features.num_rows)]
    earlier = earlier.sort_by([("account_id", "ascending"), ("as_of", "ascending")])
    if not features.num_rows or not earlier.num_rows:
        return ranges
    places, is_there = _places(features, earlier)
    for name in [
        name for name in earlier.column_names if name in features.column_names and name not in KEYS
    ]:
        values = earlier[name].to_numpy(zero_copy_only=False).astype(np.float64)
        low, high, counted = _middle_half(np.where(is_there, values[places], np.nan))
        for row in np.flatnonzero(counted >= MIN_ROWS):
            ranges[row][name] = TypicalRange(low=float(low[row]), high=float(high[row]), own=True)
    return ranges


def _numbers(groups: Iterable[Group]) -> list[str]:
    return [
        one.name for one in shown_features(groups) if one.kind == "number" and one.unit != CIRCLE
    ]


def _places(
    features: pa.Table, earlier: pa.Table
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return where each row's own earlier rows lie in `earlier`, and which places are none.

    `earlier` is in order of account and as_of.
    """
    accounts, own = np.unique(_texts(features["account_id"]), return_inverse=True)
    code = np.searchsorted(accounts, _texts(earlier["account_id"]))
    moments = _moments(earlier)
    ranks, rank = np.unique(moments, return_inverse=True)
    # one number for account and moment, in the order of the rows
    order = code * (len(ranks) + 1) + rank

    def first_from(
        moment: npt.NDArray[np.int64], side: Literal["left", "right"]
    ) -> npt.NDArray[np.int64]:
        return np.searchsorted(
            order, own * (len(ranks) + 1) + np.searchsorted(ranks, moment, side=side)
        )

    at = _moments(features)
    begin, end = first_from(at - _us(SPAN), "left"), first_from(at - _us(APART), "right")
    places = end[:, None] - np.arange(1, MAX_ROWS + 1)
    is_there = places >= begin[:, None]
    return np.where(is_there, places, 0), is_there


def _middle_half(values: FloatArray) -> tuple[FloatArray, FloatArray, npt.NDArray[np.int64]]:
    """Return the quartiles of each line, as values that it has, and how many it has.

    NaN is none.
    """
    values = np.sort(values, axis=1)  # NaN comes last
    counted = np.count_nonzero(~np.isnan(values), axis=1)
    last = np.maximum(counted - 1, 0)[:, None]
    low, high = (last // 4, -(-3 * last // 4))
    return (
        np.take_along_axis(values, low, axis=1)[:, 0],
        np.take_along_axis(values, high, axis=1)[:, 0],
        counted,
    )


def _texts(column: pa.ChunkedArray) -> npt.NDArray[np.str_]:
    return np.asarray(column.to_numpy(zero_copy_only=False).astype(str))


def _moments(rows: pa.Table) -> npt.NDArray[np.int64]:
    return np.asarray(rows["as_of"].cast(pa.int64()).to_numpy())


def _us(span: timedelta) -> int:
    return span // timedelta(microseconds=1)
