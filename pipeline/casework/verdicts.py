"""A verdict ends an alert and becomes the labels of its transactions.

A reversal adds to the record, it erases nothing.
"""

from datetime import datetime
from typing import Literal, get_args

from sqlalchemy import Connection, Engine, insert, select, update

from pipeline.casework.alerts import refuse_change
from pipeline.casework.audit import Subject, record
from pipeline.casework.database import writer
from pipeline.casework.errors import MissingError, RefusedError
from pipeline.casework.holds import give_owner
from pipeline.casework.permissions import REVIEWERS, SENIORS, require_role
from pipeline.casework.tables import Alert, AlertTransaction, Label, Review

Verdict = Literal["fraud", "legitimate"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


def decide(
    engine: Engine, alert_id: int, *, verdict: Verdict, note: str = "", by: str, now: datetime
) -> None:
    """Decide an open alert, or one in one's own review (a senior: in anyone's), and label its transactions."""
    _check(verdict)
    with writer(engine).begin() as connection:
        role = require_role(connection, by, REVIEWERS, to="decide alerts")
        free = (
            Alert.state != "decided"
            if role in SENIORS
            else (Alert.state == "open") | (Alert.reviewer == by)
        )
        decided = (
            update(Alert)
            .where(Alert.id == alert_id, Alert.state != "decided", free)
            .values(state="decided", verdict=verdict, reviewer=by, decided_at=now)
            .returning(Alert.portfolio, Alert.account_id)
        )
        row = connection.execute(decided).one_or_none()
        if row is None:
            raise refuse_change(connection, alert_id)
        subject = Subject(portfolio=row.portfolio, account_id=row.account_id, alert_id=alert_id)
        _write_down(connection, alert_id, verdict=verdict, note=note, by=by, now=now)
        record(connection, by, f"decided: {verdict}", subject, at=now, note=note)
        give_owner(connection, row.portfolio, row.account_id, owner=by, now=now)


def reverse(
    engine: Engine, alert_id: int, *, verdict: Verdict, note: str, by: str, now: datetime
) -> None:
    """Turn a decided alert's verdict into `verdict` with a reason: the transactions get new labels beside the old ones."""
    _check(verdict)
    with writer(engine).begin() as connection:
        require_role(connection, by, SENIORS, to="reverse a verdict")
        if not note.strip():
            raise RefusedError("a reversal needs a note that says why; write one")
        reversed_alert = (
            update(Alert)
            .where(Alert.id == alert_id, Alert.state == "decided", Alert.verdict != verdict)
            .values(verdict=verdict, reviewer=by, decided_at=now)
            .returning(Alert.portfolio, Alert.account_id)
        )
        row = connection.execute(reversed_alert).one_or_none()
        if row is None:
            raise _refuse_reversal(connection, alert_id)
        subject = Subject(portfolio=row.portfolio, account_id=row.account_id, alert_id=alert_id)
        _write_down(connection, alert_id, verdict=verdict, note=note, by=by, now=now)
        record(connection, by, f"reversed to: {verdict}", subject, at=now, note=note)


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


def _refuse_reversal(connection: Connection, alert_id: int) -> RefusedError:
    row = connection.execute(
        select(Alert.state, Alert.verdict).where(Alert.id == alert_id)
    ).one_or_none()
    if row is None:
        return MissingError(f"there is no alert {alert_id}; open one from the queue")
    if row.state != "decided":
        return RefusedError(f"alert {alert_id} is not decided yet; decide it instead")
    return RefusedError(f"alert {alert_id} is decided as {row.verdict} already; nothing to reverse")
