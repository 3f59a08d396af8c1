"""Which accounts are frozen, and until when? Every active hold, the one to be reviewed first on top."""

from dataclasses import dataclass
from datetime import datetime

from dashboards import formatting
from pipeline.casework import REVIEWERS, Engine, HoldFacts, User, active_holds


@dataclass(frozen=True, kw_only=True)
class HoldRow:
    """One hold; `blocked` says why it cannot be released now, None that it can."""

    portfolio: str
    account_id: str
    kind: str
    reason: str
    owner: str
    since: datetime
    age: str
    review_by: datetime
    overdue: bool
    pending_alert_id: int | None
    blocked: str | None


@dataclass(frozen=True, kw_only=True)
class HoldsPage:
    """The page's facts; the template and the JSON twin show nothing else."""

    question: str
    rows: tuple[HoldRow, ...]
    overdue: int


def holds_page(engine: Engine, *, user: User, now: datetime) -> HoldsPage:
    """All active holds, as this user may treat them."""
    rows = tuple(hold_row(hold, user=user, now=now) for hold in active_holds(engine))
    return HoldsPage(
        question="Which accounts are frozen?", rows=rows, overdue=sum(row.overdue for row in rows)
    )


def hold_row(hold: HoldFacts, *, user: User, now: datetime) -> HoldRow:
    """A hold with what stands against its release."""
    return HoldRow(
        portfolio=hold.portfolio,
        account_id=hold.account_id,
        kind=hold.kind,
        reason=hold.reason,
        owner=hold.owner or "nobody yet: it stands for the pending alert",
        since=hold.since,
        age=formatting.age(hold.since, now),
        review_by=hold.review_by,
        overdue=hold.review_by < now,
        pending_alert_id=hold.pending_alert_id,
        blocked=_blocked(hold, user),
    )


def _blocked(hold: HoldFacts, user: User) -> str | None:
    if hold.pending_alert_id is not None:
        return f"Alert {hold.pending_alert_id} of this account is not decided yet."
    if user.role not in REVIEWERS:
        return f"You are {user.role} and may not release accounts."
    return None
