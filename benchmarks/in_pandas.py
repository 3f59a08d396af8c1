"""The Handbook's 15 features the Handbook's way: pandas, one customer, then one terminal at a time.

Fraud Detection Handbook, chapter 3, "Baseline feature transformation": payments and mean amount of
the customer over 1, 7 and 30 days, the payment itself counted in; payments and share of frauds of
the terminal over the same days, seven days earlier, when its labels are known; weekend and night.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow.dataset as ds

DAYS = (1, 7, 30)
DELAY = 7  # days until all labels are known
COLUMNS = ["transaction_id", "event_time", "account_id", "merchant_id", "amount"]


def build(transactions: Sequence[str], labels: Sequence[str], to: Path) -> None:
    """Compute the features of the payments in Parquet files and write them to another."""
    payments = ds.dataset(transactions).to_table(columns=COLUMNS).to_pandas()
    known = ds.dataset(labels).to_table(columns=["transaction_id", "is_fraud"]).to_pandas()
    payments = payments.merge(known, on="transaction_id", how="left")
    payments["fraud"] = payments["is_fraud"].eq(True).astype(float)
    features(payments).to_parquet(to)


def features(payments: pd.DataFrame) -> pd.DataFrame:
    """Return the payments with the features.

    >>> at = pd.to_datetime(["2025-01-03T05:00", "2025-01-04T04:00", "2025-01-11T04:00"], utc=True)
    >>> payments = pd.DataFrame({"transaction_id": ["x", "y", "z"], "event_time": at})
    >>> payments = payments.assign(account_id=["a", "a", "b"], merchant_id="m")
    >>> payments = payments.assign(amount=[1.0, 3.0, 5.0], fraud=[1.0, 0.0, 0.0])
    >>> found = features(payments).set_index("transaction_id")
    >>> found.loc["y", ["weekend", "night", "count_1d", "mean_1d", "terminal_count_1d"]].tolist()
    [1.0, 1.0, 2.0, 2.0, 0.0]
    >>> found.loc["z", ["terminal_count_7d", "terminal_risk_7d"]].tolist()
    [2.0, 0.5]
    """
    payments = payments.sort_values("event_time", ignore_index=True)
    payments["weekend"] = payments["event_time"].apply(lambda moment: int(moment.weekday() >= 5))
    payments["night"] = payments["event_time"].apply(lambda moment: int(moment.hour <= 6))
    payments = payments.groupby("account_id").apply(of_account).reset_index()
    return payments.groupby("merchant_id", dropna=False).apply(of_terminal).reset_index()


def of_account(payments: pd.DataFrame) -> pd.DataFrame:
    """One customer's payments, with how many there were and their mean over each number of days."""
    payments = payments.sort_values("event_time").set_index("event_time", drop=False)
    for days in DAYS:
        count = payments["amount"].rolling(f"{days}D").count()
        payments[f"count_{days}d"] = count
        payments[f"mean_{days}d"] = payments["amount"].rolling(f"{days}D").sum() / count
    return payments.set_index("transaction_id")


def of_terminal(payments: pd.DataFrame) -> pd.DataFrame:
    """One terminal's payments, with how many it had over each number of days before the delay.

    And with the share of frauds among them.
    """
    payments = payments.sort_values("event_time").set_index("event_time", drop=False)
    late = payments["fraud"].rolling(f"{DELAY}D")
    for days in DAYS:
        so_far = payments["fraud"].rolling(f"{DELAY + days}D")
        frauds, known = so_far.sum() - late.sum(), so_far.count() - late.count()
        payments[f"terminal_count_{days}d"] = known
        payments[f"terminal_risk_{days}d"] = (frauds / known).fillna(0)
    return payments.set_index("transaction_id")
