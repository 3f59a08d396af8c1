"""Which accounts of a day are worth an analyst's minutes: by expected gain, within the capacity."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.arrays import FloatArray
from pipeline.portfolio_tables import Review


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The economics of a review, from the portfolio's [review]; `least_gain` is learned.

    >>> Policy.from_json(Policy(capacity_per_day=50).to_json()).capacity_per_day
    50
    """

    capacity_per_day: int
    minutes: float = 3.0
    cost: float = 0.0
    friction_cost: float = 0.0
    recovered_share: float = 1.0
    least_gain: float = 0.0  # an alert's expected gain lies above it

    def __post_init__(self) -> None:
        if self.capacity_per_day < 1:
            found = f"capacity_per_day must be at least 1, not {self.capacity_per_day}"
            raise ValueError(f"{found}; set it in [review]")
        if not 0 <= self.recovered_share <= 1:
            found = f"recovered_share must lie in 0..1, not {self.recovered_share}"
            raise ValueError(f"{found}; set it in [review], 0.6 for 60 %")
        for name in ("minutes", "cost", "friction_cost", "least_gain"):
            value = getattr(self, name)
            if not 0 <= value < np.inf:
                found = f"{name} must be a number of 0 or more, not {value}"
                raise ValueError(f"{found}; set it in [review]")

    def expected_loss(self, probability: npt.ArrayLike, amount: npt.ArrayLike) -> FloatArray:
        """What is lost on average when nobody looks."""
        return np.asarray(probability, dtype=np.float64) * np.asarray(amount, dtype=np.float64)

    def expected_gain(self, probability: npt.ArrayLike, amount: npt.ArrayLike) -> FloatArray:
        """What a review saves on average: the loss recovered, less the review and the friction.

        Friction is what a legitimate customer's trouble costs.

        >>> policy = Policy(capacity_per_day=1, cost=2, friction_cost=5, recovered_share=0.5)
        >>> policy.expected_gain([0.8], [100])
        array([37.])
        """
        legitimate = 1 - np.asarray(probability, dtype=np.float64)
        recovered = self.expected_loss(probability, amount) * self.recovered_share
        return recovered - self.cost - legitimate * self.friction_cost

    def to_json(self) -> dict[str, float]:
        """The numbers by name, as a bundle keeps them."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, float]) -> "Policy":
        """The policy that to_json() described; raises ValueError for a name it does not know."""
        if set(values) != set(cls.__dataclass_fields__):
            found = f"a policy has {sorted(cls.__dataclass_fields__)}, found {sorted(values)}"
            raise ValueError(f"{found}; export the bundle again")
        numbers = {name: float(value) for name, value in values.items()}
        return cls(capacity_per_day=int(numbers.pop("capacity_per_day")), **numbers)

    @classmethod
    def of(cls, review: Review) -> "Policy":
        """The economics a portfolio states, before anything is learned."""
        return cls(**review.model_dump())


def choose(scored: pd.DataFrame, *, policy: Policy, already_alerted: pd.DataFrame) -> pd.DataFrame:
    """The rows to alert, riskiest first: each UTC day's accounts of highest gain, up to capacity.

    `scored` has transaction_id, account_id, as_of, amount, probability, and may have `rules` (see
    rules_hit). `already_alerted` has account_id and day (UTC midnight), a row for each account
    alerted on a day before this batch: they count in the day's capacity, and their further
    transactions join without taking more of it. So a day scored in batches never raises more
    accounts than one scored at once. A row is worth a review if its gain lies above
    `policy.least_gain`, or a rule named it. An account stands in a day's order by its best row;
    accounts a rule named come first. Returned are the worthwhile rows of the chosen accounts with
    day, expected_loss, expected_gain and rules.
    """
    rows = _worthwhile(scored, policy)
    alerted = already_alerted[["account_id", "day"]].drop_duplicates()
    taken = alerted.groupby("day").size()
    best = rows.groupby(["day", "account_id"], as_index=False).agg(
        {"ruled": "max", "expected_gain": "max"}
    )
    best = best.merge(alerted.assign(known=True), on=["account_id", "day"], how="left")
    best["known"] = best["known"].notna()
    best = best.sort_values(
        ["day", "known", "ruled", "expected_gain", "account_id"],
        ascending=[True, True, False, False, True],
        kind="stable",
    )
    # among the day's accounts that are new, as known ones come last
    place = best.groupby("day").cumcount()
    free = policy.capacity_per_day - best["day"].map(taken).fillna(0)
    chosen = best.loc[best["known"] | (place < free), ["day", "account_id"]]
    flagged = rows.merge(chosen, on=["day", "account_id"], validate="many_to_one")
    order = ["day", "ruled", "expected_gain", "transaction_id"]
    return (
        flagged.sort_values(order, ascending=[True, False, False, True])
        .drop(columns="ruled")
        .reset_index(drop=True)
    )


def learn_least_gain(scored: pd.DataFrame, *, policy: Policy) -> Policy:
    """The policy whose `least_gain` lets through as many accounts a day as the capacity.

    On these days together. Without it the first batch of a day would fill the capacity with the
    little it has, before the day's worst arrive. Learned where the calibration is, on days after
    training.
    """
    rows = _worthwhile(
        scored.drop(columns="rules", errors="ignore"), replace(policy, least_gain=0.0)
    )
    gains = np.sort(rows.groupby(["day", "account_id"])["expected_gain"].max().to_numpy())[::-1]
    room = policy.capacity_per_day * scored["as_of"].dt.floor("D").nunique()
    return replace(policy, least_gain=float(gains[room]) if len(gains) > room else 0.0)


def _worthwhile(scored: pd.DataFrame, policy: Policy) -> pd.DataFrame:
    rows = scored.assign(
        day=scored["as_of"].dt.floor("D"),
        expected_loss=policy.expected_loss(scored["probability"], scored["amount"]),
        expected_gain=policy.expected_gain(scored["probability"], scored["amount"]),
        rules=scored["rules"]
        if "rules" in scored
        else pd.Series(None, index=scored.index, dtype="string"),
    )
    rows["ruled"] = rows["rules"].notna()
    return rows[rows["ruled"] | (rows["expected_gain"] > policy.least_gain)]
