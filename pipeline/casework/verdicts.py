"""A verdict ends an alert and becomes the labels of its transactions.

A reversal adds to the record, it erases nothing.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from sqlalchemy import Connection, Engine, insert, select

from pipeline.casework.alerts import change_alert, read_alert
from pipeline.casework.audit import record
from pipeline.casework.database import writer
from pipeline.casework.errors import RefusedError
from pipeline.casework.holds import give_owner
from pipeline.casework.permissions import (
    active_user,
    refuse_decision,
    refuse_reversal,
    require,
)
from pipeline.casework.tables import AlertTransaction, Label, Review

Verdict = Literal["fraud", "legitimate"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


@dataclass(frozen=True, kw_only=True)
class LabelFacts:
    """One label as it was given; a later one of the same transaction takes its place."""

    id: int
    transaction_id: str
    is_fraud: bool
    known_at: datetime
    source: str


def decide(
    engine: Engine, alert_id: int, *, verdict: Verdict, note: str = "", by: str, now: datetime
) -> None:
    """Decide an open alert, or one in review, and label its transactions."""
    _check(verdict)
    with writer(engine).begin() as connection:
        user = active_user(connection, by)
        alert = read_alert(connection, alert_id)
        require(refuse_decision(user, alert))
        subject = change_alert(
            connection,
            alert,
            state="decided",
            verdict=verdict,
            reviewer=by,
            decided_at=now,
        )
        _write_down(connection, alert_id, verdict=verdict, note=note, by=by, now=now)
        record(connection, by, f"decided: {verdict}", subject, at=now, note=note)
        give_owner(connection, alert.portfolio, alert.account_id, owner=by, now=now)


def reverse(
    engine: Engine, alert_id: int, *, verdict: Verdict, note: str, by: str, now: datetime
) -> None:
    """Turn a decided alert's verdict into `verdict`, with a reason.

    The transactions get new labels, the old ones stay.
    """
    _check(verdict)
    with writer(engine).begin() as connection:
        user = active_user(connection, by)
        alert = read_alert(connection, alert_id)
        require(refuse_reversal(user, alert, verdict))
        if not note.strip():
            raise RefusedError("a reversal needs a note that says why; write one")
        subject = change_alert(connection, alert, verdict=verdict, reviewer=by, decided_at=now)
        _write_down(connection, alert_id, verdict=verdict, note=note, by=by, now=now)
        record(connection, by, f"reversed to: {verdict}", subject, at=now, note=note)


def labels_after(
    engine: Engine, portfolio: str, after_id: int = 0, *, limit: int | None = None
) -> tuple[LabelFacts, ...]:
    """The portfolio's labels with an id above `after_id`, in the order they were given.

    0 reads them all.
    """
    later = (
        select(Label.id, Label.transaction_id, Label.is_fraud, Label.known_at, Label.source)
        .where(Label.portfolio == portfolio, Label.id > after_id)
        .order_by(Label.id)
        .limit(limit)
    )
    with engine.begin() as connection:
        return tuple(LabelFacts(**row._mapping) for row in connection.execute(later))


def read_label(engine: Engine, portfolio: str, number: int) -> LabelFacts | None:
    """The portfolio's label of this id, if there is one."""
    found = labels_after(engine, portfolio, number - 1, limit=1)
    return found[0] if found and found[0].id == number else None


def _check(verdict: str) -> None:
    if verdict not in VERDICTS:
        raise RefusedError(f"{verdict!r} is no verdict; choose {' or '.join(VERDICTS)}")


def _write_down(
    connection: Connection, alert_id: int, *, verdict: Verdict, note: str, by: str, now: datetime
) -> None:
    review = {
        "alert_id": alert_id,
        "verdict": verdict,
        "note": note.strip(),
        "given_by": by,
        "given_at": now,
    }
    connection.execute(insert(Review), [review])
    transactions = (
        select(AlertTransaction.portfolio, AlertTransaction.transaction_id)
        .where(AlertTransaction.alert_id == alert_id)
        .order_by(AlertTransaction.id)
    )
    labels = [
        {
            "portfolio": row.portfolio,
            "transaction_id": row.transaction_id,
            "alert_id": alert_id,
            "is_fraud": verdict == "fraud",
            "known_at": now,
            "source": "review",
            "given_by": by,
        }
        for row in connection.execute(transactions)
    ]
    connection.execute(insert(Label), labels)
