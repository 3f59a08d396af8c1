"""A flagged transaction with the reasons a person reads: plain values, the way into casework.

>>> amount = Fact(name="amount", text="Amount: 100 EUR", unusual=False, attribution=1.0)
>>> reason = StageReason(group="amount", increment=1.5, facts=(amount,))
>>> reason.unattributed
0.5
"""

from dataclasses import dataclass
from datetime import datetime
from math import isfinite


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One fact of a stage in words, e.g. "Country of the IP: RO, card country: DE".

    `attribution` is its part of the stage's increment, where that is known.
    """

    name: str
    text: str
    unusual: bool
    attribution: float | None = None


@dataclass(frozen=True, kw_only=True)
class StageReason:
    """What one group of facts added to the score, in log-odds, given the groups before it."""

    group: str
    increment: float
    facts: tuple[Fact, ...] = ()

    @property
    def unattributed(self) -> float | None:
        """What the facts shown leave of the increment; None where no fact has an attribution."""
        known = [fact.attribution for fact in self.facts if fact.attribution is not None]
        return self.increment - sum(known) if known else None


@dataclass(frozen=True, kw_only=True)
class NearCase:
    """A confirmed transaction among those most like a flagged one; at distance 0 it is the same."""

    transaction_id: str
    event_time: datetime
    amount: float
    currency: str | None
    is_fraud: bool
    distance: float


@dataclass(frozen=True, kw_only=True)
class FlaggedTransaction:
    """One flagged transaction: `base` + the stages' increments are `logit`, before calibration.

    `score` is the calibrated probability; `amount` is what was paid, in `currency`;
    `expected_loss` is in `loss_currency` where that is known, else in `currency`; `rules` names the
    rules that hit; `nearest` are the confirmed cases most like it, the nearest first.
    """

    transaction_id: str
    account_id: str
    event_time: datetime
    amount: float
    currency: str | None
    score: float
    logit: float
    base: float
    model_version: str
    expected_loss: float
    loss_currency: str | None = None
    rules: tuple[str, ...] = ()
    stages: tuple[StageReason, ...] = ()
    nearest: tuple[NearCase, ...] = ()

    def __post_init__(self) -> None:
        numbers = (self.amount, self.score, self.logit, self.base, self.expected_loss)
        plain = all(isinstance(number, float | int) and isfinite(number) for number in numbers)
        if not plain or not 0 <= self.score <= 1:
            raise ValueError(
                f"transaction {self.transaction_id} has "
                f"(amount, score, logit, base, expected loss) {numbers}; "
                "give finite Python numbers, and a probability as score"
            )
