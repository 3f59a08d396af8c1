"""A desk with sixty alerts of every kind, the same every time, for screenshots and browsers."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import exp

import numpy as np
from sqlalchemy import Engine

from pipeline.casework import HoldKind, Verdict, claim, decide, freeze, queue, raise_alerts
from pipeline.flagged import Fact, FlaggedTransaction, StageReason
from tests.casework_examples import NOW, near

ALERTS = 60
# which alert of the queue is decided how; whose account is frozen how and for how many days
VERDICTS: tuple[tuple[int, Verdict], ...] = ((7, "fraud"), (12, "legitimate"), (21, "fraud"))
HOLDS: tuple[tuple[int, HoldKind, int], ...] = (
    (1, "all", 2),
    (7, "debit", 1),
    (12, "all", 1),
    (21, "debit", 3),
)
REPORTED = "customer reported a stolen card"


@dataclass(frozen=True, kw_only=True)
class Story:
    """How one kind of fraud shows: the mean increment of each stage, and what its facts say."""

    amounts: tuple[float, float]
    increments: dict[str, float]
    facts: dict[str, tuple[Fact, ...]]


def fact(text: str, *, unusual: bool = False) -> Fact:
    return Fact(
        name=text.split(":", maxsplit=1)[0].lower().replace(" ", "_"), text=text, unusual=unusual
    )


STORIES = (
    Story(
        amounts=(180, 900),
        increments={
            "amount": 0.6,
            "clock": 0.3,
            "ip": 2.6,
            "location": 0.5,
            "retailer": 0.4,
            "sender": 0.9,
        },
        facts={
            "amount": (fact("Amount: 7.9 times the usual of this account", unusual=True),),
            "clock": (fact("Time: 03:12, this account is active from 8 to 23", unusual=True),),
            "ip": (
                fact("Country of the IP: RO, card country: DE", unusual=True),
                fact("Device: first seen on this account", unusual=True),
                fact("Accounts on this IP in 7 days: 1"),
            ),
            "location": (fact("Distance from home: unknown, an online payment"),),
            "retailer": (fact("Retailer: electronics shop, new to this account"),),
            "sender": (fact("Payments in 1 hour: 4, usually 0 or 1", unusual=True),),
        },
    ),
    Story(
        amounts=(1, 3),
        increments={
            "amount": -0.4,
            "clock": 0.1,
            "ip": 3.4,
            "location": 0.0,
            "retailer": 0.7,
            "sender": -0.3,
        },
        facts={
            "amount": (fact("Amount: 1.00 to 2.99, far below the usual"),),
            "clock": (fact("Time: within the account's hours"),),
            "ip": (
                fact("Accounts on this IP in 1 hour: 23", unusual=True),
                fact("Country of the IP: NL, card country: NL"),
            ),
            "location": (),
            "retailer": (
                fact(
                    "Retailer: digital goods; its known fraud rate is 6 times the average",
                    unusual=True,
                ),
            ),
            "sender": (fact("Payments in 7 days: 5, as usual"),),
        },
    ),
    Story(
        amounts=(60, 420),
        increments={
            "amount": 0.2,
            "clock": -0.2,
            "ip": -0.1,
            "location": 2.9,
            "retailer": 0.3,
            "sender": 0.4,
        },
        facts={
            "amount": (fact("Amount: 1.8 times the usual of this account"),),
            "clock": (fact("Time: within the account's hours"),),
            "ip": (fact("No IP: a payment at a terminal"),),
            "location": (
                fact("Speed since the last payment: 2,340 km/h over 1,170 km", unusual=True),
                fact("Country: ES, first time for this account", unusual=True),
            ),
            "retailer": (fact("Retailer: fuel station, new to this account"),),
            "sender": (fact("Payments in 1 day: 6, usually 2"),),
        },
    ),
    Story(
        amounts=(900, 6_500),
        increments={
            "amount": 1.3,
            "clock": 0.2,
            "ip": 0.8,
            "location": 0.1,
            "retailer": -0.6,
            "sender": 1.7,
        },
        facts={
            "amount": (
                fact("Amount: the largest so far, 4 times the previous largest", unusual=True),
            ),
            "clock": (fact("Time since the previous payment: 2 minutes"),),
            "ip": (fact("Device: first seen 20 minutes ago", unusual=True),),
            "location": (fact("Distance from home: 12 km"),),
            "retailer": (fact("No retailer: a transfer"),),
            "sender": (
                fact("Sum in 1 day: 5,210, usually below 300", unusual=True),
                fact("Age of the account: 6 years"),
            ),
        },
    ),
)


def seed(engine: Engine, *, now: datetime = NOW) -> None:
    """Sixty alerts, a few of them claimed, decided and frozen.

    `engine` must know the people of casework_examples.
    """
    random = np.random.default_rng(7)
    for number in range(ALERTS):
        raised_at = now - timedelta(minutes=float(random.uniform(3, 60 * 30)))
        raise_alerts(
            engine,
            _one_alert(number, random, raised_at),
            portfolio="cards" if number % 9 == 4 else "world",
            now=raised_at,
        )
    alerts = queue(engine, limit=ALERTS)
    for place, verdict in VERDICTS:
        decide(
            engine,
            alerts[place].id,
            verdict=verdict,
            note="called the customer",
            by="ben",
            now=now - timedelta(hours=1),
        )
    again = alerts[7]
    raise_alerts(
        engine,
        [_transaction(again.account_id, "tx-900001", STORIES[0], random, now)],
        portfolio=again.portfolio,
        now=now,
    )
    claim(engine, alerts[3].id, by="ben", now=now - timedelta(minutes=9))
    since = now - timedelta(days=1, hours=5)
    for place, kind, days in HOLDS:
        reported = place % 2 == 1
        freeze(
            engine,
            alerts[place].portfolio,
            alerts[place].account_id,
            kind=kind,
            reason=REPORTED if reported else "new device and new receiver",
            owner="sue" if reported else "ben",
            review_by=since + timedelta(days=days),
            now=since,
        )


def _one_alert(number: int, random: np.random.Generator, at: datetime) -> list[FlaggedTransaction]:
    story = STORIES[number % len(STORIES)]
    account = f"acc-{random.integers(10_000, 99_999)}"
    return [
        _transaction(
            account, f"tx-{number:04}{place:02}", story, random, at - timedelta(minutes=3.0 * place)
        )
        for place in range(int(random.integers(1, 6)))
    ]


def _transaction(
    account: str, transaction_id: str, story: Story, random: np.random.Generator, at: datetime
) -> FlaggedTransaction:
    base = -5.29  # log-odds of a base rate of 0.5 %
    stages = tuple(
        StageReason(
            group=group,
            increment=round(float(random.normal(mean, 0.35)), 3),
            facts=story.facts[group],
        )
        for group, mean in story.increments.items()
    )
    logit = base + sum(stage.increment for stage in stages)
    score = 1 / (1 + exp(-(1.05 * logit + 0.4)))
    amount = round(float(random.uniform(*story.amounts)), 2)
    return FlaggedTransaction(
        transaction_id=transaction_id,
        account_id=account,
        event_time=at,
        amount=amount,
        currency="EUR",
        score=score,
        logit=logit,
        base=base,
        model_version="3",
        expected_loss=score * amount,
        rules=("huge_amount",) if amount > 5_000 else (),
        stages=stages,
        nearest=(
            near("tx-000700", distance=0.41),
            near("tx-000003", distance=0.56),
            near("tx-880012", is_fraud=False, distance=0.83),
        ),
    )
