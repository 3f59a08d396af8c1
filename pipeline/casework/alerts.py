"""Raising alerts: a flagged transaction joins its account's undecided alert, or opens a new one, and does so once."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any

from sqlalchemy import Connection, Engine, bindparam, delete, func, insert, select, update

from pipeline.casework.audit import MACHINE, Subject, audit_row, record
from pipeline.casework.database import writer
from pipeline.casework.errors import MissingError, RefusedError
from pipeline.casework.permissions import REVIEWERS, SENIORS, require_role
from pipeline.casework.reasons_json import nearest_to_json, stages_to_json
from pipeline.casework.tables import Alert, AlertedBatch, AlertTransaction, Audit
from pipeline.flagged import FlaggedTransaction

# well below the parameters SQLite (32,766) and Postgres (65,535) take in one statement
KEYS_PER_QUERY = 5_000


@dataclass(frozen=True, kw_only=True)
class RaisedAlerts:
    """Alerts opened, transactions that went into alerts, and transactions that were in one already."""

    new_alerts: int
    added: int
    already: int


def raise_alerts(
    engine: Engine,
    flagged: Sequence[FlaggedTransaction],
    *,
    portfolio: str,
    now: datetime,
    batch: int | None = None,
) -> RaisedAlerts:
    """Put every flagged transaction into one alert; doing it again changes nothing.

    With `batch`, the batch of scores up to which all is now alerted on, kept in the same
    transaction.
    """
    by_id = {one.transaction_id: one for one in flagged}
    with writer(engine).begin() as connection:
        known = _already_in_an_alert(connection, portfolio, list(by_id))
        by_account = _grouped_by_account(
            [one for one in by_id.values() if one.transaction_id not in known]
        )
        fresh = list(chain.from_iterable(by_account.values()))
        undecided = _undecided(connection, portfolio, list(by_account))
        opened = _open(
            connection,
            portfolio,
            {a: t for a, t in by_account.items() if a not in undecided},
            now=now,
        )
        _join(
            connection,
            portfolio,
            {undecided[a]: t for a, t in by_account.items() if a in undecided},
            now=now,
        )
        _store(connection, portfolio, fresh, undecided | opened, now=now)
        if batch is not None:
            connection.execute(delete(AlertedBatch).where(AlertedBatch.portfolio == portfolio))
            connection.execute(insert(AlertedBatch), [{"portfolio": portfolio, "batch": batch}])
    return RaisedAlerts(new_alerts=len(opened), added=len(fresh), already=len(flagged) - len(fresh))


def alerted_up_to(engine: Engine, portfolio: str) -> int:
    """The batch of scores up to which alerts were raised; -1 when none were."""
    with engine.connect() as connection:
        found = connection.scalar(
            select(AlertedBatch.batch).where(AlertedBatch.portfolio == portfolio)
        )
    return -1 if found is None else found


def in_alerts(engine: Engine, portfolio: str, transaction_ids: list[str]) -> set[str]:
    """Which of these transactions are in an alert."""
    with engine.connect() as connection:
        return _already_in_an_alert(connection, portfolio, transaction_ids)


def take(engine: Engine, alert_id: int, *, by: str, now: datetime) -> None:
    """Take an open alert into review, so that colleagues see it is being worked on."""
    with writer(engine).begin() as connection:
        require_role(connection, by, REVIEWERS, to="review alerts")
        claim = (
            update(Alert)
            .where(Alert.id == alert_id, Alert.state == "open")
            .values(state="in_review", reviewer=by)
        )
        subject = _changed(connection, claim, alert_id)
        record(connection, by, "took the alert", subject, at=now)


def put_back(engine: Engine, alert_id: int, *, by: str, now: datetime) -> None:
    """Put an alert in review back into the queue: the reviewer's own, or anyone's by a senior."""
    with writer(engine).begin() as connection:
        require_role(connection, by, REVIEWERS, to="review alerts")
        reviewer = connection.scalar(select(Alert.reviewer).where(Alert.id == alert_id))
        if reviewer != by:
            require_role(connection, by, SENIORS, to="put back an alert that a colleague reviews")
        returned = (
            update(Alert)
            .where(Alert.id == alert_id, Alert.state == "in_review")
            .values(state="open", reviewer=None)
        )
        subject = _changed(connection, returned, alert_id)
        record(connection, by, "put the alert back", subject, at=now)


def refuse_change(connection: Connection, alert_id: int) -> RefusedError:
    """Why an alert could not be changed, told from how it stands now."""
    row = connection.execute(
        select(Alert.state, Alert.reviewer, Alert.verdict).where(Alert.id == alert_id)
    ).one_or_none()
    if row is None:
        return MissingError(f"there is no alert {alert_id}; open one from the queue")
    if row.state == "decided":
        return RefusedError(
            f"alert {alert_id} was decided as {row.verdict} by {row.reviewer} already; a senior can reverse it"
        )
    if row.state == "in_review":
        return RefusedError(
            f"alert {alert_id} is in review by {row.reviewer}; ask them to put it back, or a senior"
        )
    return RefusedError(f"alert {alert_id} is not in review; it is in the queue")


def _changed(connection: Connection, change: Any, alert_id: int) -> Subject:
    row = connection.execute(change.returning(Alert.portfolio, Alert.account_id)).one_or_none()
    if row is None:
        raise refuse_change(connection, alert_id)
    return Subject(portfolio=row.portfolio, account_id=row.account_id, alert_id=alert_id)


def _already_in_an_alert(
    connection: Connection, portfolio: str, transaction_ids: list[str]
) -> set[str]:
    stored = AlertTransaction.transaction_id
    found: set[str] = set()
    for ids in _chunks(transaction_ids):
        found.update(
            connection.scalars(
                select(stored).where(AlertTransaction.portfolio == portfolio, stored.in_(ids))
            )
        )
    return found


def _grouped_by_account(flagged: list[FlaggedTransaction]) -> dict[str, list[FlaggedTransaction]]:
    by_account: dict[str, list[FlaggedTransaction]] = defaultdict(list)
    for transaction in sorted(
        flagged, key=lambda one: (one.account_id, one.event_time, one.transaction_id)
    ):
        by_account[transaction.account_id].append(transaction)
    return dict(by_account)


def _undecided(connection: Connection, portfolio: str, account_ids: list[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for ids in _chunks(account_ids):
        rows = select(Alert.account_id, Alert.id).where(
            Alert.portfolio == portfolio, Alert.state != "decided", Alert.account_id.in_(ids)
        )
        found.update({row.account_id: row.id for row in connection.execute(rows)})
    return found


def _open(
    connection: Connection,
    portfolio: str,
    by_account: dict[str, list[FlaggedTransaction]],
    *,
    now: datetime,
) -> dict[str, int]:
    if not by_account:
        return {}
    alerts = [
        {
            "portfolio": portfolio,
            "account_id": account_id,
            "state": "open",
            "raised_at": now,
            "expected_loss": sum(transaction.expected_loss for transaction in transactions),
            "top_score": max(transaction.score for transaction in transactions),
        }
        for account_id, transactions in by_account.items()
    ]
    rows = connection.execute(insert(Alert).returning(Alert.account_id, Alert.id), alerts)
    opened = {row.account_id: row.id for row in rows}
    audited = [
        _audit_row(
            "raised the alert", portfolio, account_id, opened[account_id], transactions, now=now
        )
        for account_id, transactions in by_account.items()
    ]
    connection.execute(insert(Audit), audited)
    return opened


def _join(
    connection: Connection,
    portfolio: str,
    by_alert: dict[int, list[FlaggedTransaction]],
    *,
    now: datetime,
) -> None:
    if not by_alert:
        return
    highest = func.max if connection.dialect.name == "sqlite" else func.greatest
    joined = (
        update(Alert)
        .where(Alert.id == bindparam("joined_id"))
        .values(
            expected_loss=Alert.expected_loss + bindparam("more_loss"),
            top_score=highest(Alert.top_score, bindparam("new_score")),
        )
    )
    changes = [
        {
            "joined_id": alert_id,
            "more_loss": sum(transaction.expected_loss for transaction in transactions),
            "new_score": max(transaction.score for transaction in transactions),
        }
        for alert_id, transactions in by_alert.items()
    ]
    connection.execute(joined, changes)
    audited = [
        _audit_row(
            "added to the alert",
            portfolio,
            transactions[0].account_id,
            alert_id,
            transactions,
            now=now,
        )
        for alert_id, transactions in by_alert.items()
    ]
    connection.execute(insert(Audit), audited)


def _audit_row(
    what: str,
    portfolio: str,
    account_id: str,
    alert_id: int,
    transactions: list[FlaggedTransaction],
    *,
    now: datetime,
) -> dict[str, Any]:
    subject = Subject(portfolio=portfolio, account_id=account_id, alert_id=alert_id)
    return audit_row(
        MACHINE, what, subject, at=now, transactions=[one.transaction_id for one in transactions]
    )


def _store(
    connection: Connection,
    portfolio: str,
    flagged: list[FlaggedTransaction],
    alerts: dict[str, int],
    *,
    now: datetime,
) -> None:
    rows = [
        {
            "alert_id": alerts[transaction.account_id],
            "portfolio": portfolio,
            "transaction_id": transaction.transaction_id,
            "account_id": transaction.account_id,
            "event_time": transaction.event_time,
            "flagged_at": now,
            "amount": transaction.amount,
            "currency": transaction.currency,
            "score": transaction.score,
            "logit": transaction.logit,
            "base": transaction.base,
            "model_version": transaction.model_version,
            "expected_loss": transaction.expected_loss,
            "rules": list(transaction.rules),
            "stages": stages_to_json(transaction.stages),
            "nearest": nearest_to_json(transaction.nearest),
        }
        for transaction in flagged
    ]
    if rows:
        connection.execute(insert(AlertTransaction), rows)


def _chunks(keys: list[str]) -> Iterator[list[str]]:
    return (keys[start : start + KEYS_PER_QUERY] for start in range(0, len(keys), KEYS_PER_QUERY))
