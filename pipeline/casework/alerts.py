"""Alerts are raised once a flagged transaction, then claimed, unclaimed and decided by people.

A flagged transaction joins its account's undecided alert, or opens a new one.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain

from sqlalchemy import Connection, Engine, bindparam, delete, func, insert, select, update

from pipeline.casework.audit import MACHINE, Subject, audit_row, record
from pipeline.casework.database import writer
from pipeline.casework.errors import MissingError
from pipeline.casework.permissions import (
    AlertStatus,
    active_user,
    refuse_claim,
    refuse_unclaim,
    require,
)
from pipeline.casework.tables import Alert, AlertedBatch, AlertTransaction, Audit
from pipeline.flagged import FlaggedTransaction

# well below the parameters SQLite (32,766) and Postgres (65,535) take in one statement
KEYS_PER_QUERY = 5_000


@dataclass(frozen=True, kw_only=True)
class RaisedAlerts:
    """Alerts opened, transactions added to alerts, and transactions in one already."""

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
    by_id = {transaction.transaction_id: transaction for transaction in flagged}
    with writer(engine).begin() as connection:
        known = _already_in_an_alert(connection, portfolio, list(by_id))
        fresh = [transaction for name, transaction in by_id.items() if name not in known]
        by_account = _grouped_by_account(fresh)
        undecided = _undecided(connection, portfolio, list(by_account))
        joining = {undecided[name]: by_account[name] for name in by_account if name in undecided}
        opening = {name: by_account[name] for name in by_account if name not in undecided}
        opened = _open(connection, portfolio, opening, now=now)
        _join(connection, portfolio, joining, now=now)
        in_order = list(chain.from_iterable(by_account.values()))
        _store(connection, portfolio, in_order, undecided | opened, now=now)
        if batch is not None:
            _remember_batch(connection, portfolio, batch)
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


def claim(engine: Engine, alert_id: int, *, by: str, now: datetime) -> None:
    """Take an open alert into review, so that colleagues see it is being worked on."""
    with writer(engine).begin() as connection:
        user = active_user(connection, by)
        alert = read_alert(connection, alert_id)
        require(refuse_claim(user, alert))
        subject = change_alert(connection, alert, state="in_review", reviewer=by)
        record(connection, by, "took the alert", subject, at=now)


def unclaim(engine: Engine, alert_id: int, *, by: str, now: datetime) -> None:
    """Put an alert in review back into the queue: the reviewer's own, or anyone's by a senior."""
    with writer(engine).begin() as connection:
        user = active_user(connection, by)
        alert = read_alert(connection, alert_id)
        require(refuse_unclaim(user, alert))
        subject = change_alert(connection, alert, state="open", reviewer=None)
        record(connection, by, "put the alert back", subject, at=now)


def read_alert(connection: Connection, alert_id: int) -> AlertStatus:
    """Whose an alert is and how it stands; in a writer's transaction it stands so to the end."""
    columns = (
        Alert.id,
        Alert.portfolio,
        Alert.account_id,
        Alert.state,
        Alert.reviewer,
        Alert.verdict,
    )
    row = connection.execute(select(*columns).where(Alert.id == alert_id)).one_or_none()
    if row is None:
        raise MissingError(f"there is no alert {alert_id}; open one from the queue")
    return AlertStatus(**row._mapping)


def change_alert(connection: Connection, alert: AlertStatus, **values: object) -> Subject:
    """Change an alert that still stands as it was read; the answer is for the audit."""
    unchanged = (Alert.id == alert.id) & (Alert.state == alert.state)
    change = update(Alert).where(unchanged).values(**values).returning(Alert.id)
    connection.execute(change).scalar_one()
    return Subject(portfolio=alert.portfolio, account_id=alert.account_id, alert_id=alert.id)


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
    for transaction in sorted(flagged, key=_by_account_and_time):
        by_account[transaction.account_id].append(transaction)
    return dict(by_account)


def _by_account_and_time(transaction: FlaggedTransaction) -> tuple[str, datetime, str]:
    return transaction.account_id, transaction.event_time, transaction.transaction_id


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
            "expected_loss": _expected_loss(transactions),
            "top_score": _top_score(transactions),
            "loss_currency": transactions[0].loss_currency,
        }
        for account_id, transactions in by_account.items()
    ]
    rows = connection.execute(insert(Alert).returning(Alert.account_id, Alert.id), alerts)
    opened = {row.account_id: row.id for row in rows}
    by_alert = {opened[account_id]: by_account[account_id] for account_id in by_account}
    _audit(connection, "raised the alert", portfolio, by_alert, now=now)
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
            "more_loss": _expected_loss(transactions),
            "new_score": _top_score(transactions),
        }
        for alert_id, transactions in by_alert.items()
    ]
    connection.execute(joined, changes)
    _audit(connection, "added to the alert", portfolio, by_alert, now=now)


def _expected_loss(transactions: list[FlaggedTransaction]) -> float:
    return sum(transaction.expected_loss for transaction in transactions)


def _top_score(transactions: list[FlaggedTransaction]) -> float:
    return max(transaction.score for transaction in transactions)


def _audit(
    connection: Connection,
    what: str,
    portfolio: str,
    by_alert: dict[int, list[FlaggedTransaction]],
    *,
    now: datetime,
) -> None:
    rows = []
    for alert_id, transactions in by_alert.items():
        account_id = transactions[0].account_id
        subject = Subject(portfolio=portfolio, account_id=account_id, alert_id=alert_id)
        names = [transaction.transaction_id for transaction in transactions]
        rows.append(audit_row(MACHINE, what, subject, at=now, transactions=names))
    connection.execute(insert(Audit), rows)


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
            "stages": transaction.stages,
            "nearest": transaction.nearest,
        }
        for transaction in flagged
    ]
    if rows:
        connection.execute(insert(AlertTransaction), rows)


def _remember_batch(connection: Connection, portfolio: str, batch: int) -> None:
    connection.execute(delete(AlertedBatch).where(AlertedBatch.portfolio == portfolio))
    connection.execute(insert(AlertedBatch), [{"portfolio": portfolio, "batch": batch}])


def _chunks(keys: list[str]) -> Iterator[list[str]]:
    return (keys[start : start + KEYS_PER_QUERY] for start in range(0, len(keys), KEYS_PER_QUERY))
