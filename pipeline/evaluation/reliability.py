"""Whether a probability can be believed: reliability tables, expected calibration error."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.arrays import FloatArray
from pipeline.evaluation.bootstrap import resample_accounts
from pipeline.evaluation.metrics import calibration_error, checked, equal_mass_bins


def reliability(y: npt.ArrayLike, p: npt.ArrayLike, *, bins: int = 10) -> pd.DataFrame:
    """One row a bin of equal mass, lowest probabilities first.

    >>> reliability([0, 1, 0, 1], [0.1, 0.1, 0.5, 0.9], bins=2)
       rows  frauds  mean_probability  fraud_rate
    0     2       1               0.1         0.5
    1     2       1               0.7         0.5
    """
    fraud, score = checked(y, p)
    rows = pd.DataFrame({"fraud": fraud, "score": score}).groupby(equal_mass_bins(score, bins))
    table = rows.agg(
        rows=("fraud", "size"), frauds=("fraud", "sum"), mean_probability=("score", "mean")
    )
    return table.assign(fraud_rate=table["frauds"] / table["rows"])


def stage_reliability(
    y: npt.ArrayLike, p: FloatArray, stages: Sequence[str], *, bins: int = 10
) -> pd.DataFrame:
    """The `reliability` of the probabilities after each stage, p [R, K], with its stage and bin.

    >>> p = np.array([[0.5, 0.1], [0.5, 0.9]])
    >>> table = stage_reliability([0, 1], p, ["amount", "ip"], bins=2)
    >>> table[["stage", "bin", "fraud_rate"]]
        stage  bin  fraud_rate
    0  amount    0         0.5
    1      ip    0         0.0
    2      ip    1         1.0
    """
    tables = {name: reliability(y, p[:, place], bins=bins) for place, name in enumerate(stages)}
    return pd.concat(tables, names=["stage", "bin"]).reset_index()


@dataclass(frozen=True, kw_only=True)
class CalibrationError:
    """Expected calibration error over bins of equal mass, and its 95 % interval."""

    error: float
    low: float
    high: float


def expected_calibration_error(
    y: npt.ArrayLike,
    p: npt.ArrayLike,
    *,
    accounts: npt.ArrayLike,
    bins: int = 10,
    draws: int = 1000,
    seed: int = 0,
) -> CalibrationError:
    """Mean distance of probability from fraud rate, its interval by resampling whole accounts.

    The bins are held fixed. The distance of a perfect model is above zero by chance alone, so the
    interval of a good one does not reach zero: compare it with another model's, not with nothing.
    """
    fraud, score = checked(y, p)
    account, names = pd.factorize(np.asarray(accounts))
    bin_of = equal_mass_bins(score, bins)
    count = int(bin_of.max()) + 1
    cell = account * count + bin_of
    gap, rows = (
        np.bincount(cell, weights=values, minlength=len(names) * count).reshape(len(names), count)
        for values in (score - fraud, np.ones_like(score))
    )
    errors = [
        np.abs(weights @ gap).sum(axis=1) / (weights @ rows).sum(axis=1)
        for weights in resample_accounts(len(names), draws=draws, seed=seed, width=len(names))
    ]
    low, high = np.quantile(np.concatenate(errors), [0.025, 0.975])
    return CalibrationError(
        error=calibration_error(fraud, score, bins=bins), low=float(low), high=float(high)
    )
