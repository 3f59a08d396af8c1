"""Which accounts are frozen, and until when? The hold to be reviewed first stands on top."""

from dataclasses import dataclass
from datetime import datetime

from dashboards import formatting
from pipeline.casework import Engine, HoldFacts, User, active_holds, refuse_release


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
    refusal = refuse_release(
        user,
        hold.account_id,
        pending_alert_id=hold.pending_alert_id,
        active_kinds=(hold.kind,),
    )
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
        blocked=refusal.hint if refusal is not None else None,
    )
