"""Whether one model is better than another: the difference of their AP, accounts resampled."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.arrays import BoolArray, FloatArray, IntArray
from pipeline.evaluation.metrics import Metrics, average_precision, both_classes

BLOCK_BYTES = 64_000_000  # of the widest array alive while a block of draws is judged


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """AP(ours) - AP(theirs) and its 95 % interval.

    `draws` counts those that held a fraud, the only ones that have an AP.
    """

    difference: float
    low: float
    high: float
    draws: int


def paired_bootstrap(
    y: npt.ArrayLike,
    ours: npt.ArrayLike,
    theirs: npt.ArrayLike,
    accounts: npt.ArrayLike,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> PairedDifference:
    """Difference of AP on the same rows, its 95 % interval by resampling whole accounts.

    Transactions of one account go together in fraud, so drawing single rows would make the interval
    too narrow.

    >>> same = [4, 1, 2, 3]
    >>> paired_bootstrap([1, 0, 0, 1], same, same, ["a", "b", "c", "d"], draws=20).difference
    0.0
    """
    if draws < 1:
        raise ValueError(f"an interval needs at least 1 draw, not {draws}; 1000 is usual")
    fraud = both_classes(y, rows=len(np.asarray(accounts)))
    mine, other = _finite(ours, fraud, whose="ours"), _finite(theirs, fraud, whose="theirs")
    account, names = pd.factorize(np.asarray(accounts))
    rankings = [RankedCells.of(fraud, score, account) for score in (mine, other)]
    widest = max(ranking.width for ranking in rankings)
    differences = np.concatenate(
        [
            rankings[0].average_precision(weights) - rankings[1].average_precision(weights)
            for weights in resample_accounts(len(names), draws=draws, seed=seed, width=widest)
        ]
    )
    possible = differences[~np.isnan(differences)]
    low, high = np.quantile(possible, [0.025, 0.975]) if len(possible) else (np.nan, np.nan)
    point = average_precision(fraud, mine) - average_precision(fraud, other)
    return PairedDifference(difference=point, low=float(low), high=float(high), draws=len(possible))


def resample_accounts(accounts: int, *, draws: int, seed: int, width: int) -> Iterator[FloatArray]:
    """Blocks [some draws, accounts] of how often each was drawn.

    `width`: the numbers one draw needs alive at once.
    """
    generator = np.random.default_rng(seed)
    block = max(1, BLOCK_BYTES // (8 * max(width, accounts)))
    for first in range(0, draws, block):
        count = min(block, draws - first)
        drawn = (
            generator.integers(accounts, size=(count, accounts))
            + accounts * np.arange(count)[:, None]
        )
        yield (
            np.bincount(drawn.ravel(), minlength=count * accounts)
            .reshape(count, accounts)
            .astype(np.float64)
        )


@dataclass(frozen=True, kw_only=True)
class RankedCells:
    """One model's ranking, sorted once: the AP under any weights of the accounts follows from it.

    Recall moves only at scores that a fraud has, so rows between two of them are one step of the
    ranking, and an account's rows in one step are one cell: AP needs the cells' accounts and
    counts, not the rows.
    """

    account: IntArray  # of each cell, steps one after the other, most suspicious first
    rows: FloatArray  # in each cell
    starts: IntArray  # the first cell of each step
    fraud_account: IntArray  # the same three for the frauds alone
    fraud_rows: FloatArray
    fraud_starts: IntArray

    @classmethod
    def of(cls, fraud: BoolArray, score: FloatArray, account: IntArray) -> "RankedCells":
        """Sort rows by score into steps and cells.

        Rows of equal score share a step, as scikit-learn takes them.
        """
        levels = np.unique(score[fraud])
        # Steps by the lowest fraud's score a row reaches; rows below every fraud's score change no
        # precision that counts.
        step = len(levels) - np.searchsorted(levels, score, side="right")
        counts = step < len(levels)
        cells, rows = np.unique(
            step[counts] * (account.max() + 1) + account[counts], return_counts=True
        )
        fraud_cells, fraud_rows = np.unique(
            step[fraud] * (account.max() + 1) + account[fraud], return_counts=True
        )
        return cls(
            account=cells % (account.max() + 1),
            rows=rows.astype(np.float64),
            starts=_starts(cells // (account.max() + 1)),
            fraud_account=fraud_cells % (account.max() + 1),
            fraud_rows=fraud_rows.astype(np.float64),
            fraud_starts=_starts(fraud_cells // (account.max() + 1)),
        )

    @property
    def width(self) -> int:
        """The numbers one draw needs alive at once."""
        return len(self.account)

    def average_precision(self, weights: FloatArray) -> FloatArray:
        """AP of each draw [draws] under weights of the accounts [draws, accounts].

        NaN for a draw without fraud.
        """
        taken = np.cumsum(
            np.add.reduceat(weights[:, self.account] * self.rows, self.starts, axis=1), axis=1
        )
        hit = np.add.reduceat(
            weights[:, self.fraud_account] * self.fraud_rows, self.fraud_starts, axis=1
        )
        caught = np.cumsum(hit, axis=1)
        precision = np.divide(caught, taken, out=np.zeros_like(caught), where=taken > 0)
        total = caught[:, -1]
        ap: FloatArray = np.divide(
            (hit * precision).sum(axis=1), total, out=np.full_like(total, np.nan), where=total > 0
        )
        return ap


def comparison_table(
    metrics: Mapping[str, Metrics], differences: Mapping[str, PairedDifference], *, reference: str
) -> pd.DataFrame:
    """One row a model, best AP first: metrics, and the AP's difference to the reference.

    The difference has its 95 % interval. The reference itself, and a model never paired with it,
    has no difference.
    """
    if reference not in metrics:
        models = sorted(metrics)
        raise ValueError(
            f"the reference {reference!r} is not among the models {models}; name one of them"
        )
    table = pd.DataFrame(
        {name: values.as_dict() for name, values in metrics.items()}
    ).T.rename_axis("model")
    table = table.astype({"rows": "int64", "frauds": "int64"})
    for column, part in {
        "ap_difference": "difference",
        "difference_low": "low",
        "difference_high": "high",
    }.items():
        table[column] = [
            float(getattr(differences[name], part)) if name in differences else np.nan
            for name in metrics
        ]
    table["reference"] = reference
    return table.sort_values("ap", ascending=False, kind="stable")


def _starts(steps: IntArray) -> IntArray:
    return np.flatnonzero(np.diff(steps, prepend=-1))


def _finite(score: npt.ArrayLike, fraud: BoolArray, *, whose: str) -> FloatArray:
    values = np.asarray(score, dtype=np.float64)
    if len(values) != len(fraud):
        found = f"{whose} has {len(values)} scores for {len(fraud)} rows"
        raise ValueError(f"{found}; score the same rows with both models")
    endless = int((~np.isfinite(values)).sum())
    if endless:
        raise ValueError(
            f"{whose} has {endless} scores that are not finite; score those rows again"
        )
    return values
