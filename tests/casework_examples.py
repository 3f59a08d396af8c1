"""Small real casework for tests: one flagged transaction at a time, and people of every role."""

import tempfile
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from sqlalchemy import Engine

from pipeline.casework import HoldKind, Role, add_user, freeze, open_casework
from pipeline.flagged import Fact, FlaggedTransaction, NearCase, StageReason

NOW = datetime(2025, 3, 10, 9, 0, tzinfo=UTC)
TOMORROW = NOW + timedelta(days=1)
PASSWORD = "correct horse battery"
AMOUNT_FACT = Fact(name="amount", text="Amount: 100 EUR", unusual=False, attribution=0.75)
IP_FACT = Fact(name="ip_country", text="Country of the IP: RO, card country: DE", unusual=True)
PEOPLE: dict[str, Role] = {
    "ann": "analyst",
    "ben": "analyst",
    "sue": "senior",
    "max": "manager",
    "vic": "viewer",
}


def casework_with_people(folder: Path) -> Engine:
    """A new casework database with analysts Ann and Ben, senior Sue, manager Max, viewer Vic."""
    file = folder / "casework.db"
    file.write_bytes(_people_once())
    return open_casework(f"sqlite:///{file}")


@cache
def _people_once() -> bytes:
    """The database as bytes: each test gets a copy, as argon2 takes its time on purpose."""
    with tempfile.TemporaryDirectory() as folder:
        engine = open_casework(f"sqlite:///{folder}/casework.db")
        for name, role in PEOPLE.items():
            add_user(engine, name, role=role, password=PASSWORD, now=NOW)
        engine.dispose()
        return Path(folder, "casework.db").read_bytes()


def freeze_account(
    engine: Engine,
    account_id: str = "a1",
    *,
    kind: HoldKind = "all",
    owner: str | None = "ann",
    reason: str = "stolen card",
    review_by: datetime = TOMORROW,
) -> None:
    """Freeze an account of the portfolio world."""
    freeze(
        engine,
        "world",
        account_id,
        kind=kind,
        reason=reason,
        owner=owner,
        review_by=review_by,
        now=NOW,
    )


def near(transaction_id: str, *, is_fraud: bool = True, distance: float = 0.5) -> NearCase:
    """A confirmed case of a week ago."""
    at = NOW - timedelta(days=7)
    return NearCase(
        transaction_id=transaction_id,
        event_time=at,
        amount=80.0,
        currency="EUR",
        is_fraud=is_fraud,
        distance=distance,
    )


def flagged(
    transaction_id: str,
    account_id: str = "a1",
    *,
    score: float = 0.25,
    amount: float = 100.0,
    loss: float = 20.0,
    nearest: tuple[NearCase, ...] = (near("c1"), near("c2", is_fraud=False, distance=0.75)),
) -> FlaggedTransaction:
    """A transaction flagged for its IP: -4.0 base, +1.0 amount, +2.0 ip."""
    return FlaggedTransaction(
        transaction_id=transaction_id,
        account_id=account_id,
        event_time=NOW,
        amount=amount,
        currency="EUR",
        score=score,
        logit=-1.0,
        base=-4.0,
        model_version="3",
        expected_loss=loss,
        rules=("huge_amount",),
        stages=(
            StageReason(
                group="amount",
                increment=1.0,
                facts=(
                    Fact(name="amount", text="Amount: 100 EUR", unusual=False, attribution=0.75),
                ),
            ),
            StageReason(group="ip", increment=2.0, facts=(IP_FACT,)),
        ),
        nearest=nearest,
    )
