"""What analysts with a daily capacity would have found."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.arrays import BoolArray, FloatArray, IntArray

NEVER = np.iinfo(np.int64).max  # the day an account that is not found is found on


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What analysts with a daily capacity find: see Metrics."""

    precision: float
    recall: float
    value_recall: float
    first_fraud_recall: float


def findings(
    fraud: BoolArray,
    score: FloatArray,
    *,
    accounts: npt.ArrayLike,
    event_time: pd.Series,
    amount: npt.ArrayLike,
    capacity_per_day: int,
) -> Findings:
    """Review the `capacity_per_day` most suspicious accounts of each UTC day.

    The Handbook's card precision: an account once found is reviewed no more, its score is its
    highest of the day, and a day with fewer accounts than capacity still divides by the capacity.
    """
    rows = pd.DataFrame(
        {"fraud": fraud, "score": score, "amount": np.asarray(amount, dtype=np.float64)}
    )
    rows["account"], names = pd.factorize(np.asarray(accounts), sort=True)
    rows["day"] = pd.factorize(pd.Series(event_time).dt.floor("D").to_numpy(), sort=True)[0]
    worst = rows.groupby(["day", "account"], sort=True)[["score", "fraud"]].max().reset_index()
    worst = worst.sort_values(["day", "score"], ascending=[True, False], kind="stable")
    found_on = found_days(worst, accounts=len(names), capacity_per_day=capacity_per_day)
    caught = rows["fraud"] & (found_on[rows["account"]] <= rows["day"])
    first_fraud = rows[rows["fraud"]].groupby("account")["day"].min()
    at_first = found_on[first_fraud.index] == first_fraud
    found, defrauded = int((found_on < NEVER).sum()), len(first_fraud)
    stolen = float(rows.loc[rows["fraud"], "amount"].sum())
    return Findings(
        precision=found / (capacity_per_day * (int(rows["day"].max()) + 1)),
        recall=found / defrauded,
        value_recall=float(rows.loc[caught, "amount"].sum()) / stolen if stolen > 0 else 0.0,
        first_fraud_recall=float(at_first.mean()),
    )


def found_days(worst: pd.DataFrame, *, accounts: int, capacity_per_day: int) -> IntArray:
    """The day on which each account is found, `NEVER` for the rest.

    `worst` has day, account, fraud, most suspicious first.
    """
    found_on = np.full(accounts, NEVER, dtype=np.int64)
    account, fraud = worst["account"].to_numpy(), worst["fraud"].to_numpy()
    starts = np.flatnonzero(np.diff(worst["day"].to_numpy(), prepend=-1))
    # a day depends on what the days before found
    for day, rows in enumerate(np.split(np.arange(len(worst)), starts[1:])):
        waiting = rows[found_on[account[rows]] == NEVER][:capacity_per_day]
        found_on[account[waiting[fraud[waiting]]]] = day
    return found_on
