"""What should I review next? The alerts of one state, the highest expected loss first."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from urllib.parse import urlencode

from dashboards import formatting
from pipeline.casework import AlertFacts, AlertState, Engine, counts, portfolios, queue
from pipeline.flagged import StageReason

ROWS = 25
REASONS = 3
FULL_BAR = 5.0  # log-odds: the same length means the same weight on every row and page
STATE_WORDS: dict[AlertState, str] = {
    "open": "Open",
    "in_review": "In review",
    "decided": "Decided",
}


@dataclass(frozen=True, kw_only=True)
class Reason:
    """One stage's weight as a small bar; `width` is 0 to 100."""

    group: str
    increment: float
    text: str
    direction: Literal["up", "down"]
    width: float


@dataclass(frozen=True, kw_only=True)
class QueueRow:
    """One alert in the queue, ready to read."""

    alert_id: int
    href: str
    account_id: str
    portfolio: str
    expected_loss: str
    at_risk: str
    transactions: int
    score: str
    reasons: tuple[Reason, ...]
    rules: tuple[str, ...]
    age: str
    raised_at: datetime
    hold: str | None
    reviewer: str | None
    verdict: str | None


@dataclass(frozen=True, kw_only=True)
class Tab:
    """One state to choose, with how many alerts are in it."""

    text: str
    number: int
    href: str
    chosen: bool


@dataclass(frozen=True, kw_only=True)
class QueuePage:
    """The page's facts; the template and the JSON twin show nothing else."""

    question: str
    portfolio: str | None
    portfolios: tuple[str, ...]
    state: AlertState
    tabs: tuple[Tab, ...]
    holds: int
    rows: tuple[QueueRow, ...]
    first_row: int
    total: int
    previous: str | None
    following: str | None
    empty: str


def queue_page(
    engine: Engine, *, portfolio: str | None, state: AlertState, number: int, now: datetime
) -> QueuePage:
    """Page `number` (from 1) of the queue."""
    stored = counts(engine, portfolio)
    total = stored["alerts"][state]
    offset = ROWS * (number - 1)
    alerts = queue(engine, portfolio, state=state, limit=ROWS, offset=offset)
    return QueuePage(
        question="What should I review next?",
        portfolio=portfolio,
        portfolios=portfolios(engine),
        state=state,
        tabs=tuple(
            Tab(
                text=STATE_WORDS[one],
                number=stored["alerts"][one],
                href=_href(portfolio, one, 1),
                chosen=one == state,
            )
            for one in STATE_WORDS
        ),
        holds=stored["holds"],
        rows=tuple(_row(alert, now=now) for alert in alerts),
        first_row=offset + 1,
        total=total,
        previous=_href(portfolio, state, number - 1) if number > 1 else None,
        following=_href(portfolio, state, number + 1) if offset + len(alerts) < total else None,
        empty=_empty(state),
    )


def strongest(stages: tuple[StageReason, ...], number: int = REASONS) -> tuple[Reason, ...]:
    """The stages that moved the score most, either way."""
    by_weight = sorted(stages, key=lambda stage: -abs(stage.increment))[:number]
    return tuple(
        Reason(
            group=formatting.title(stage.group),
            increment=stage.increment,
            text=formatting.signed(stage.increment),
            direction="up" if stage.increment >= 0 else "down",
            width=round(min(abs(stage.increment) / FULL_BAR, 1) * 100, 1),
        )
        for stage in by_weight
    )


def _row(alert: AlertFacts, *, now: datetime) -> QueueRow:
    return QueueRow(
        alert_id=alert.id,
        href=f"/alerts/{alert.id}",
        account_id=alert.account_id,
        portfolio=alert.portfolio,
        expected_loss=formatting.loss(alert),
        at_risk=formatting.moneys(alert.amounts),
        transactions=alert.transactions,
        score=formatting.percent(alert.top_score),
        reasons=strongest(alert.stages),
        rules=alert.rules,
        age=formatting.age(alert.raised_at, now),
        raised_at=alert.raised_at,
        hold=", ".join(alert.hold_kinds) or None,
        reviewer=alert.reviewer,
        verdict=alert.verdict,
    )


def _href(portfolio: str | None, state: AlertState, number: int) -> str:
    asked = {
        "portfolio": portfolio or "",
        "state": state if state != "open" else "",
        "page": number if number > 1 else "",
    }
    query = urlencode({name: value for name, value in asked.items() if value})
    return f"/?{query}" if query else "/"


def _empty(state: AlertState) -> str:
    return {
        "open": "Nothing waits for review. "
        "New alerts come with the next scoring run: strata score PORTFOLIO.",
        "in_review": "Nobody has taken an alert. Open one from the queue and choose “Take it”.",
        "decided": "No alert was decided yet. Verdicts given on an alert's page are listed here.",
    }[state]
