"""A transaction the model or a rule flagged, with the reasons a person reads: the way into casework.

>>> reason = StageReason(group="ip", increment=1.5, facts=(Fact(name="ip_country", text="IP is in RO", unusual=True),))
>>> stages_from_json(stages_to_json((reason,))) == (reason,)
True
"""

from dataclasses import dataclass
from datetime import datetime
from math import isfinite


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One fact of a stage in words a person can read, e.g. "Country of the IP: RO, card country: DE".

    `share` is its part of the stage's increment, where that is known.
    """

    name: str
    text: str
    unusual: bool
    share: float | None = None


@dataclass(frozen=True, kw_only=True)
class StageReason:
    """What one group of facts added to the score, in log-odds, given the groups before it."""

    group: str
    increment: float
    facts: tuple[Fact, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NearCase:
    """A confirmed transaction that is among those most like a flagged one, and how far from it (0 is the same)."""

    transaction_id: str
    event_time: datetime
    amount: float
    currency: str | None
    is_fraud: bool
    distance: float


@dataclass(frozen=True, kw_only=True)
class FlaggedTransaction:
    """One flagged transaction: `score` is a calibrated probability, `base` + the stage increments are `logit`.

    `logit` is before calibration; `expected_loss` is in units of `currency`; `rules` names the
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
    rules: tuple[str, ...] = ()
    stages: tuple[StageReason, ...] = ()
    nearest: tuple[NearCase, ...] = ()

    def __post_init__(self) -> None:
        numbers = (self.amount, self.score, self.logit, self.base, self.expected_loss)
        plain = all(isinstance(number, float | int) and isfinite(number) for number in numbers)
        if not plain or not 0 <= self.score <= 1:
            raise ValueError(
                f"transaction {self.transaction_id} has (amount, score, logit, base, expected loss) {numbers}; "
                "give finite Python numbers, and a probability as score"
            )
