"""What pages and status read of casework: stored facts, each as of one moment.

Nothing is decided here.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict

from sqlalchemy import ColumnElement, Connection, Engine, Row, func, select

from pipeline.casework.errors import MissingError
from pipeline.casework.holds import HoldFacts, active_kinds_by_account, read_holds
from pipeline.casework.permissions import AlertState, AlertStatus
from pipeline.casework.tables import Alert, AlertTransaction, Audit, Hold, Review
from pipeline.flagged import FlaggedTransaction, StageReason


class AlertCounts(TypedDict):
    """Alerts by state."""

    open: int
    in_review: int
    decided: int


class Counts(TypedDict):
    """Alerts by state, and the holds that are active."""

    alerts: AlertCounts
    holds: int


@dataclass(frozen=True, kw_only=True)
class Amount:
    """A sum in one currency; the currency is None where the source names none."""

    total: float
    currency: str | None


@dataclass(frozen=True, kw_only=True)
class AlertFacts(AlertStatus):
    """An alert as a queue shows it: sums of its transactions, and the riskiest one's reasons."""

    raised_at: datetime
    expected_loss: float
    top_score: float
    decided_at: datetime | None
    transactions: int
    amounts: tuple[Amount, ...]
    loss_currency: str | None
    stages: tuple[StageReason, ...]
    rules: tuple[str, ...]
    hold_kinds: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ReviewFacts:
    """One verdict given on an alert."""

    verdict: str
    note: str
    given_by: str
    given_at: datetime


@dataclass(frozen=True, kw_only=True)
class AuditFacts:
    """One thing done to the account or one of its alerts."""

    at: datetime
    who: str
    what: str
    alert_id: int | None
    details: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class CaseFacts:
    """All that is stored of one alert and its account, newest last.

    `transactions` are the riskiest first; `alerts_near` are the alerts, by transaction, that hold
    the confirmed cases nearest to these transactions.
    """

    alert: AlertFacts
    transactions: tuple[FlaggedTransaction, ...]
    reviews: tuple[ReviewFacts, ...]
    other_alerts: tuple[AlertFacts, ...]
    holds: tuple[HoldFacts, ...]
    history: tuple[AuditFacts, ...]
    alerts_near: Mapping[str, int]


def queue(
    engine: Engine,
    portfolio: str | None = None,
    *,
    state: AlertState = "open",
    limit: int = 50,
    offset: int = 0,
) -> tuple[AlertFacts, ...]:
    """The alerts of a state, the highest expected loss first; a portfolio of None means all.

    Losses of several currencies are not ranked among each other: one currency comes after another.
    """
    wanted = [Alert.state == state, *_of(Alert.portfolio, portfolio)]
    with engine.begin() as connection:
        different = select(Alert.loss_currency).distinct().where(*wanted)
        currencies = [found for found in connection.scalars(different) if found is not None]
        first = [Alert.loss_currency] if len(currencies) > 1 else []
        return _alerts(connection, *wanted, first=first, limit=limit, offset=offset)


def alert_page(engine: Engine, alert_id: int) -> CaseFacts:
    """Everything a person needs to decide one alert."""
    with engine.begin() as connection:
        found = _alerts(connection, Alert.id == alert_id)
        if not found:
            raise MissingError(f"there is no alert {alert_id}; open one from the queue")
        alert = found[0]
        transactions = _transactions(connection, alert_id)
        of_account = (Alert.portfolio == alert.portfolio, Alert.account_id == alert.account_id)
        return CaseFacts(
            alert=alert,
            transactions=transactions,
            reviews=_reviews(connection, alert_id),
            other_alerts=_alerts(connection, *of_account, Alert.id != alert_id),
            holds=read_holds(
                connection,
                Hold.portfolio == alert.portfolio,
                Hold.account_id == alert.account_id,
            ),
            history=_history(connection, alert.portfolio, alert.account_id),
            alerts_near=_alerts_near(connection, alert.portfolio, transactions),
        )


def counts(engine: Engine, portfolio: str | None = None) -> Counts:
    """How many alerts are in each state, and how many holds are active."""
    by_state = (
        select(Alert.state, func.count().label("number"))
        .where(*_of(Alert.portfolio, portfolio))
        .group_by(Alert.state)
    )
    active = (
        select(func.count())
        .select_from(Hold)
        .where(Hold.released_at.is_(None), *_of(Hold.portfolio, portfolio))
    )
    with engine.begin() as connection:
        alerts = {row.state: row.number for row in connection.execute(by_state)}
        holds = connection.scalar(active) or 0
    states: AlertCounts = {
        "open": alerts.get("open", 0),
        "in_review": alerts.get("in_review", 0),
        "decided": alerts.get("decided", 0),
    }
    return {"alerts": states, "holds": holds}


def portfolios(engine: Engine) -> tuple[str, ...]:
    """The portfolios that ever had an alert."""
    with engine.begin() as connection:
        return tuple(
            connection.scalars(select(Alert.portfolio).distinct().order_by(Alert.portfolio))
        )


def _of(column: Any, portfolio: str | None) -> list[ColumnElement[bool]]:
    return [] if portfolio is None else [column == portfolio]


def _alerts(
    connection: Connection,
    *wanted: ColumnElement[bool],
    first: Sequence[Any] = (),
    limit: int | None = None,
    offset: int = 0,
) -> tuple[AlertFacts, ...]:
    columns = (
        Alert.id,
        Alert.portfolio,
        Alert.account_id,
        Alert.state,
        Alert.raised_at,
        Alert.expected_loss,
        Alert.top_score,
        Alert.reviewer,
        Alert.verdict,
        Alert.decided_at,
        Alert.loss_currency,
    )
    ordered = (
        select(*columns)
        .where(*wanted)
        .order_by(*first, Alert.expected_loss.desc(), Alert.id)
        .limit(limit)
        .offset(offset)
    )
    rows = connection.execute(ordered).all()
    ids = [row.id for row in rows]
    amounts, counted = _sums(connection, ids)
    riskiest = _riskiest(connection, ids)
    holds = active_kinds_by_account(connection, [row.account_id for row in rows])
    return tuple(
        AlertFacts(
            **row._mapping,
            transactions=counted[row.id],
            amounts=tuple(amounts[row.id]),
            stages=riskiest[row.id].stages,
            rules=tuple(riskiest[row.id].rules),
            hold_kinds=tuple(holds[row.portfolio, row.account_id]),
        )
        for row in rows
    )


def _sums(
    connection: Connection, alert_ids: Sequence[int]
) -> tuple[dict[int, list[Amount]], dict[int, int]]:
    sums = (
        select(
            AlertTransaction.alert_id,
            AlertTransaction.currency,
            func.sum(AlertTransaction.amount).label("total"),
            func.count().label("transactions"),
        )
        .where(AlertTransaction.alert_id.in_(alert_ids))
        .group_by(AlertTransaction.alert_id, AlertTransaction.currency)
        .order_by(AlertTransaction.alert_id, func.sum(AlertTransaction.amount).desc())
    )
    amounts: dict[int, list[Amount]] = defaultdict(list)
    counted: dict[int, int] = defaultdict(int)
    for row in connection.execute(sums):
        amounts[row.alert_id].append(Amount(total=row.total, currency=row.currency))
        counted[row.alert_id] += row.transactions
    return amounts, counted


def _riskiest(connection: Connection, alert_ids: Sequence[int]) -> dict[int, Row[Any]]:
    place = func.row_number().over(
        partition_by=AlertTransaction.alert_id,
        order_by=(AlertTransaction.score.desc(), AlertTransaction.id),
    )
    columns = (
        AlertTransaction.alert_id,
        AlertTransaction.stages,
        AlertTransaction.rules,
        place.label("place"),
    )
    placed = select(*columns).where(AlertTransaction.alert_id.in_(alert_ids)).subquery()
    return {
        row.alert_id: row for row in connection.execute(select(placed).where(placed.c.place == 1))
    }


def _transactions(connection: Connection, alert_id: int) -> tuple[FlaggedTransaction, ...]:
    columns = (
        AlertTransaction.transaction_id,
        AlertTransaction.account_id,
        AlertTransaction.event_time,
        AlertTransaction.amount,
        AlertTransaction.currency,
        AlertTransaction.score,
        AlertTransaction.logit,
        AlertTransaction.base,
        AlertTransaction.model_version,
        AlertTransaction.expected_loss,
        AlertTransaction.rules,
        AlertTransaction.stages,
        AlertTransaction.nearest,
    )
    stored = select(*columns).where(AlertTransaction.alert_id == alert_id)
    riskiest_first = stored.order_by(AlertTransaction.score.desc(), AlertTransaction.id)
    return tuple(
        FlaggedTransaction(**{**row._mapping, "rules": tuple(row.rules)})
        for row in connection.execute(riskiest_first)
    )


def _alerts_near(
    connection: Connection, portfolio: str, transactions: Sequence[FlaggedTransaction]
) -> dict[str, int]:
    near = {case.transaction_id for one in transactions for case in one.nearest}
    found = select(AlertTransaction.transaction_id, AlertTransaction.alert_id).where(
        AlertTransaction.portfolio == portfolio,
        AlertTransaction.transaction_id.in_(near),
    )
    return {row.transaction_id: row.alert_id for row in connection.execute(found)}


def _reviews(connection: Connection, alert_id: int) -> tuple[ReviewFacts, ...]:
    columns = (Review.verdict, Review.note, Review.given_by, Review.given_at)
    given = select(*columns).where(Review.alert_id == alert_id).order_by(Review.id)
    return tuple(ReviewFacts(**row._mapping) for row in connection.execute(given))


def _history(connection: Connection, portfolio: str, account_id: str) -> tuple[AuditFacts, ...]:
    columns = (Audit.at, Audit.who, Audit.what, Audit.alert_id, Audit.details)
    done = (
        select(*columns)
        .where(Audit.portfolio == portfolio, Audit.account_id == account_id)
        .order_by(Audit.at, Audit.id)
    )
    return tuple(AuditFacts(**row._mapping) for row in connection.execute(done))
