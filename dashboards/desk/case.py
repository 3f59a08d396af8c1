"""Is this fraud? One alert: its transactions, their reasons, and what was done before."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from dashboards import formatting
from dashboards.desk.holds import HoldRow, hold_row
from dashboards.desk.reasons import Reasons, reasons
from pipeline.casework import (
    AlertFacts,
    AlertState,
    AuditFacts,
    Engine,
    ReviewFacts,
    User,
    Verdict,
    alert_page,
    refuse_claim,
    refuse_decision,
    refuse_freeze,
    refuse_reversal,
    refuse_unclaim,
)
from pipeline.flagged import FlaggedTransaction

REVIEW_HOLD_AFTER = timedelta(days=3)


@dataclass(frozen=True, kw_only=True)
class TransactionRow:
    """One transaction of the alert; `chosen` is the one whose reasons are shown."""

    transaction_id: str
    href: str
    event_time: datetime
    amount: str
    score: str
    expected_loss: str
    rules: tuple[str, ...]
    chosen: bool


@dataclass(frozen=True, kw_only=True)
class OtherAlert:
    """Another alert of the same account."""

    alert_id: int
    href: str
    raised_at: datetime
    expected_loss: str
    outcome: str


@dataclass(frozen=True, kw_only=True)
class HistoryRow:
    """One thing that was done."""

    at: datetime
    who: str
    what: str
    alert_id: int | None
    remark: str


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """What this user may do with this alert now; a sentence says why not."""

    decide: bool
    decide_blocked: str | None
    claim: bool
    unclaim: bool
    reverse_to: Verdict | None
    freeze: bool


@dataclass(frozen=True, kw_only=True)
class CasePage:
    """The page's facts; the template and the JSON twin show nothing else."""

    question: str
    alert_id: int
    portfolio: str
    account_id: str
    state: AlertState
    verdict: str | None
    reviewer: str | None
    expected_loss: str
    at_risk: str
    score: str
    raised_at: datetime
    age: str
    transactions: tuple[TransactionRow, ...]
    reasons: Reasons
    reviews: tuple[ReviewFacts, ...]
    holds: tuple[HoldRow, ...]
    past_holds: int
    other_alerts: tuple[OtherAlert, ...]
    history: tuple[HistoryRow, ...]
    allowed: Allowed
    review_hold_by: str
    today: str


def case_page(
    engine: Engine, alert_id: int, *, transaction_id: str | None, user: User, now: datetime
) -> CasePage:
    """The alert as this user sees it.

    The riskiest transaction is chosen where the asked one is not of this alert.
    """
    case = alert_page(engine, alert_id)
    alert = case.alert
    chosen = next(
        (one for one in case.transactions if one.transaction_id == transaction_id),
        case.transactions[0],
    )
    newest_first = sorted(case.other_alerts, key=lambda one: one.raised_at, reverse=True)
    active = [hold for hold in case.holds if hold.released_at is None]
    return CasePage(
        question="Is this fraud?",
        alert_id=alert.id,
        portfolio=alert.portfolio,
        account_id=alert.account_id,
        state=alert.state,
        verdict=alert.verdict,
        reviewer=alert.reviewer,
        expected_loss=formatting.loss(alert),
        at_risk=formatting.moneys(alert.amounts),
        score=formatting.percent(alert.top_score),
        raised_at=alert.raised_at,
        age=formatting.age(alert.raised_at, now),
        transactions=tuple(
            _transaction(one, alert, chosen=one is chosen) for one in case.transactions
        ),
        reasons=reasons(chosen, case.alerts_near),
        reviews=case.reviews,
        holds=tuple(hold_row(hold, user=user, now=now) for hold in active),
        past_holds=len(case.holds) - len(active),
        other_alerts=tuple(_other(one) for one in newest_first),
        history=tuple(_done(one) for one in reversed(case.history)),
        allowed=_allowed(alert, user, active_kinds=[hold.kind for hold in active]),
        review_hold_by=f"{now + REVIEW_HOLD_AFTER:%Y-%m-%d}",
        today=f"{now:%Y-%m-%d}",
    )


def _transaction(one: FlaggedTransaction, alert: AlertFacts, *, chosen: bool) -> TransactionRow:
    return TransactionRow(
        transaction_id=one.transaction_id,
        href=f"/alerts/{alert.id}?{formatting.query(transaction=one.transaction_id)}#reasons",
        event_time=one.event_time,
        amount=formatting.money(one.amount, one.currency),
        score=formatting.percent(one.score),
        expected_loss=formatting.loss(alert, one.expected_loss),
        rules=one.rules,
        chosen=chosen,
    )


def _other(alert: AlertFacts) -> OtherAlert:
    decided = f"{alert.verdict}, by {alert.reviewer}"
    return OtherAlert(
        alert_id=alert.id,
        href=f"/alerts/{alert.id}",
        raised_at=alert.raised_at,
        expected_loss=formatting.loss(alert),
        outcome=decided if alert.verdict else alert.state.replace("_", " "),
    )


def _done(row: AuditFacts) -> HistoryRow:
    remark = row.details.get("note") or row.details.get("reason") or ""
    if "transactions" in row.details:
        remark = formatting.counted(len(row.details["transactions"]), "transaction")
    return HistoryRow(at=row.at, who=row.who, what=row.what, alert_id=row.alert_id, remark=remark)


def _allowed(alert: AlertFacts, user: User, *, active_kinds: list[str]) -> Allowed:
    decision = refuse_decision(user, alert)
    opposite: Verdict = "legitimate" if alert.verdict == "fraud" else "fraud"
    can_reverse = refuse_reversal(user, alert, opposite) is None
    freeze = refuse_freeze(user, alert.account_id, kind="all", active_kinds=active_kinds)
    return Allowed(
        decide=decision is None,
        decide_blocked=decision.hint if decision is not None else None,
        claim=refuse_claim(user, alert) is None,
        unclaim=refuse_unclaim(user, alert) is None,
        reverse_to=opposite if can_reverse else None,
        freeze=freeze is None,
    )
