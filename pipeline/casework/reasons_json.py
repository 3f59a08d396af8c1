"""Reasons and near cases as the JSON that the database keeps of them."""

from datetime import datetime
from typing import TypedDict

from pipeline.flagged import Fact, NearCase, StageReason


class FactJson(TypedDict):
    """A fact as it is stored."""

    name: str
    text: str
    unusual: bool
    share: float | None


class StageJson(TypedDict):
    """A stage's reason as it is stored."""

    group: str
    increment: float
    facts: list[FactJson]


class NearCaseJson(TypedDict):
    """A near case as it is stored."""

    transaction_id: str
    event_time: str
    amount: float
    currency: str | None
    is_fraud: bool
    distance: float


def stages_to_json(stages: tuple[StageReason, ...]) -> list[StageJson]:
    """The reasons as JSON values, one object a stage."""
    return [
        {
            "group": stage.group,
            "increment": float(stage.increment),
            "facts": [
                {
                    "name": fact.name,
                    "text": fact.text,
                    "unusual": bool(fact.unusual),
                    "share": fact.share,
                }
                for fact in stage.facts
            ],
        }
        for stage in stages
    ]


def stages_from_json(stored: list[StageJson]) -> tuple[StageReason, ...]:
    """The reasons back from their stored JSON values."""
    return tuple(
        StageReason(
            group=stage["group"],
            increment=stage["increment"],
            facts=tuple(Fact(**fact) for fact in stage["facts"]),
        )
        for stage in stored
    )


def nearest_to_json(nearest: tuple[NearCase, ...]) -> list[NearCaseJson]:
    """The near cases as JSON values."""
    return [
        {
            "transaction_id": case.transaction_id,
            "event_time": case.event_time.isoformat(),
            "amount": case.amount,
            "currency": case.currency,
            "is_fraud": case.is_fraud,
            "distance": case.distance,
        }
        for case in nearest
    ]


def nearest_from_json(stored: list[NearCaseJson]) -> tuple[NearCase, ...]:
    """The near cases back from their stored JSON values."""
    return tuple(
        NearCase(
            transaction_id=case["transaction_id"],
            event_time=datetime.fromisoformat(case["event_time"]),
            amount=case["amount"],
            currency=case["currency"],
            is_fraud=case["is_fraud"],
            distance=case["distance"],
        )
        for case in stored
    )
