"""Is this fraud? One alert: its transactions, what each stage knows of them, and what was done before."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from markupsafe import Markup

from dashboards import formatting
from dashboards.desk.holds import HoldRow, hold_row
from dashboards.desk.waterfall import render_bar, waterfall
from pipeline.casework import (
    REVIEWERS,
    SENIORS,
    AlertFacts,
    AlertState,
    AuditFacts,
    CaseFacts,
    Engine,
    ReviewFacts,
    User,
    Verdict,
    alert_page,
)
from pipeline.flagged import Fact, FlaggedTransaction, NearCase, StageReason

REVIEW_HOLD_AFTER = timedelta(days=3)
WEIGHT_TEXT = (
    "Each bar is the weight of evidence of one group of facts given the groups before it, in log-odds: "
    "not what the group would say alone. The bars add up from the base rate to the final log-odds. "
    "Behind a fact stands its part of its group's weight. All else is what the group's other facts say, and what usual ones "
    "would have said after the stages before."
)
MIN_REST = 0.05  # log-odds
NEAREST_TEXT = (
    "Confirmed transactions that the network takes to be most like this one, of all facts together: 0 is the same, "
    "1.4 is as far apart as two cases taken at random."
)


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
class FactRow:
    """One fact of a stage, and its part of the stage's weight where that is known."""

    text: str
    unusual: bool
    share: str


@dataclass(frozen=True, kw_only=True)
class StageRow:
    """One stage of the chosen transaction: its facts, what they leave of its weight, its weight, and the score after it."""

    name: str
    facts: tuple[FactRow, ...]
    rest: str
    increment: float
    text: str
    odds: str
    after: float
    bar: Markup


@dataclass(frozen=True, kw_only=True)
class NearCaseRow:
    """One of the nearest confirmed cases.

    `href` leads to the alert it was in, where there is one.
    """

    transaction_id: str
    href: str | None
    event_time: datetime
    amount: str
    verdict: Verdict
    distance: str


@dataclass(frozen=True, kw_only=True)
class Reasons:
    """The chosen transaction's way from the base rate to its probability."""

    transaction_id: str
    model_version: str
    base: str
    base_bar: Markup
    base_probability: str
    stages: tuple[StageRow, ...]
    logit: str
    score: str
    explanation: str
    nearest: tuple[NearCaseRow, ...]
    nearest_explanation: str


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
    take: bool
    put_back: bool
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
    active = [hold for hold in case.holds if hold.released_at is None]
    return CasePage(
        question="Is this fraud?",
        alert_id=alert.id,
        portfolio=alert.portfolio,
        account_id=alert.account_id,
        state=alert.state,
        verdict=alert.verdict,
        reviewer=alert.reviewer,
        expected_loss=formatting.money(alert.expected_loss, formatting.one_currency(alert.amounts)),
        at_risk=formatting.moneys(alert.amounts),
        score=formatting.percent(alert.top_score),
        raised_at=alert.raised_at,
        age=formatting.age(alert.raised_at, now),
        transactions=tuple(
            _transaction(one, alert.id, chosen=one is chosen) for one in case.transactions
        ),
        reasons=_reasons(chosen, case.alerts_near),
        reviews=case.reviews,
        holds=tuple(hold_row(hold, user=user, now=now) for hold in active),
        past_holds=len(case.holds) - len(active),
        other_alerts=tuple(
            _other(one)
            for one in sorted(case.other_alerts, key=lambda one: one.raised_at, reverse=True)
        ),
        history=tuple(_done(one) for one in reversed(case.history)),
        allowed=_allowed(case, user),
        review_hold_by=f"{now + REVIEW_HOLD_AFTER:%Y-%m-%d}",
        today=f"{now:%Y-%m-%d}",
    )


def _transaction(one: FlaggedTransaction, alert_id: int, *, chosen: bool) -> TransactionRow:
    return TransactionRow(
        transaction_id=one.transaction_id,
        href=f"/alerts/{alert_id}?{formatting.query(transaction=one.transaction_id)}#reasons",
        event_time=one.event_time,
        amount=formatting.money(one.amount, one.currency),
        score=formatting.percent(one.score),
        expected_loss=formatting.money(one.expected_loss, one.currency),
        rules=one.rules,
        chosen=chosen,
    )


def _reasons(one: FlaggedTransaction, alerts_near: Mapping[str, int]) -> Reasons:
    first, *steps = waterfall(one.base, [(stage.group, stage.increment) for stage in one.stages])
    return Reasons(
        transaction_id=one.transaction_id,
        model_version=one.model_version,
        base=formatting.signed(one.base),
        base_bar=render_bar(first),
        base_probability=formatting.percent(formatting.probability(one.base)),
        stages=tuple(
            StageRow(
                name=formatting.title(stage.group),
                facts=tuple(_fact(fact) for fact in stage.facts),
                rest=_rest(stage),
                increment=stage.increment,
                text=formatting.signed(stage.increment),
                odds=formatting.odds(stage.increment),
                after=step.after,
                bar=render_bar(step),
            )
            for stage, step in zip(one.stages, steps, strict=True)
        ),
        logit=formatting.signed(one.logit),
        score=formatting.percent(one.score),
        explanation=WEIGHT_TEXT,
        nearest=tuple(
            _near_case(case, alerts_near.get(case.transaction_id)) for case in one.nearest
        ),
        nearest_explanation=NEAREST_TEXT,
    )


def _rest(stage: StageReason) -> str:
    """What the facts shown leave of a stage's weight.

    Empty where nothing is shared out, or nearly nothing is left.
    """
    shares = [fact.share for fact in stage.facts if fact.share is not None]
    rest = stage.increment - sum(shares)
    return formatting.signed(rest) if shares and abs(rest) >= MIN_REST else ""


def _fact(fact: Fact) -> FactRow:
    return FactRow(
        text=fact.text,
        unusual=fact.unusual,
        share="" if fact.share is None else formatting.signed(fact.share),
    )


def _near_case(case: NearCase, alert_id: int | None) -> NearCaseRow:
    asked = formatting.query(transaction=case.transaction_id)
    return NearCaseRow(
        transaction_id=case.transaction_id,
        href=None if alert_id is None else f"/alerts/{alert_id}?{asked}#reasons",
        event_time=case.event_time,
        amount=formatting.money(case.amount, case.currency),
        verdict="fraud" if case.is_fraud else "legitimate",
        distance=f"{case.distance:.2f}",
    )


def _other(alert: AlertFacts) -> OtherAlert:
    return OtherAlert(
        alert_id=alert.id,
        href=f"/alerts/{alert.id}",
        raised_at=alert.raised_at,
        expected_loss=formatting.money(alert.expected_loss, formatting.one_currency(alert.amounts)),
        outcome=f"{alert.verdict}, by {alert.reviewer}"
        if alert.verdict
        else alert.state.replace("_", " "),
    )


def _done(row: AuditFacts) -> HistoryRow:
    remark = row.details.get("note") or row.details.get("reason") or ""
    if "transactions" in row.details:
        remark = formatting.counted(len(row.details["transactions"]), "transaction")
    return HistoryRow(at=row.at, who=row.who, what=row.what, alert_id=row.alert_id, remark=remark)


def _allowed(case: CaseFacts, user: User) -> Allowed:
    alert = case.alert
    may_review = user.role in REVIEWERS
    is_senior = user.role in SENIORS
    is_free = alert.state == "open" or alert.reviewer == user.name or is_senior
    opposite: Verdict = "legitimate" if alert.verdict == "fraud" else "fraud"
    return Allowed(
        decide=may_review and is_free and alert.state != "decided",
        decide_blocked=_decide_blocked(alert, user, may_review=may_review, is_free=is_free),
        take=may_review and alert.state == "open",
        put_back=may_review and is_free and alert.state == "in_review",
        reverse_to=opposite if is_senior and alert.state == "decided" else None,
        freeze=may_review,
    )


def _decide_blocked(
    alert: AlertFacts, user: User, *, may_review: bool, is_free: bool
) -> str | None:
    if not may_review:
        return f"You are {user.role} and may look, not decide."
    if not is_free:
        return f"{alert.reviewer} is reviewing this alert."
    return None
