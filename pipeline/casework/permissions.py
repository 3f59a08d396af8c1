"""Who may do what in casework: acts ask before they change a thing, pages before they offer it.

Each `refuse_...` answers None where the act is allowed, else why it is not.

>>> alert = AlertStatus(id=7, portfolio="cards", account_id="a1", state="in_review", reviewer="ann")
>>> refuse_decision(User(name="sue", role="senior"), alert)
>>> refuse_decision(User(name="ben", role="analyst"), alert).hint
'ann is reviewing this alert.'
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, cast, get_args

from sqlalchemy import Connection, select

from pipeline.casework.errors import ForbiddenError, RefusedError
from pipeline.casework.tables import UserAccount

AlertState = Literal["open", "in_review", "decided"]
Role = Literal["analyst", "senior", "manager", "viewer"]
ROLES: tuple[Role, ...] = get_args(Role)
REVIEWERS: tuple[Role, ...] = ("analyst", "senior", "manager")
SENIORS: tuple[Role, ...] = ("senior", "manager")


@dataclass(frozen=True, kw_only=True)
class User:
    """An active user and their role."""

    name: str
    role: Role


@dataclass(frozen=True, kw_only=True)
class AlertStatus:
    """What of an alert decides who may change it; `reviewer` claimed or decided it."""

    id: int
    portfolio: str
    account_id: str
    state: AlertState
    reviewer: str | None = None
    verdict: str | None = None


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why an act is not allowed: the act's error says `sentence`, a page shows `hint` instead."""

    sentence: str
    hint: str
    error: type[RefusedError] = RefusedError


def active_user(connection: Connection, name: str) -> User:
    """The active user of that name; nobody else acts in casework."""
    role = connection.scalar(
        select(UserAccount.role).where(UserAccount.name == name, UserAccount.active)
    )
    if role is None:
        raise ForbiddenError(
            f"{name!r} is no active user; add them with: strata user add {name} --role analyst"
        )
    return User(name=name, role=cast(Role, role))


def require(refusal: Refusal | None) -> None:
    """Raise the refusal, if there is one."""
    if refusal is not None:
        raise refusal.error(refusal.sentence)


def refuse_claim(user: User, alert: AlertStatus) -> Refusal | None:
    """Reviewers claim open alerts."""
    return (
        _refuse_role(user, REVIEWERS, to="review alerts")
        or _refuse_decided(alert)
        or _refuse_in_review(alert)
    )


def refuse_unclaim(user: User, alert: AlertStatus) -> Refusal | None:
    """Reviewers put back what they claimed, seniors what anyone did."""
    refusal = _refuse_role(user, REVIEWERS, to="review alerts") or _refuse_decided(alert)
    if refusal is not None or alert.reviewer == user.name:
        return refusal
    if alert.state == "open":
        return Refusal(
            sentence=f"alert {alert.id} is not in review; it is in the queue",
            hint="This alert is in the queue.",
        )
    return _refuse_role(user, SENIORS, to="put back an alert that a colleague reviews")


def refuse_decision(user: User, alert: AlertStatus) -> Refusal | None:
    """Reviewers decide open alerts and those they claimed, seniors also those of others."""
    is_theirs = alert.reviewer == user.name or user.role in SENIORS
    return (
        _refuse_role(user, REVIEWERS, to="decide alerts", hint="may look, not decide")
        or _refuse_decided(alert)
        or (None if is_theirs else _refuse_in_review(alert))
    )


def refuse_reversal(user: User, alert: AlertStatus, verdict: str) -> Refusal | None:
    """Seniors turn a verdict round."""
    refusal = _refuse_role(user, SENIORS, to="reverse a verdict")
    if refusal is not None:
        return refusal
    if alert.state != "decided":
        return Refusal(
            sentence=f"alert {alert.id} is not decided yet; decide it instead",
            hint="This alert is not decided yet.",
        )
    if alert.verdict == verdict:
        return Refusal(
            sentence=f"alert {alert.id} is decided as {verdict} already; nothing to reverse",
            hint=f"This alert is decided as {verdict} already.",
        )
    return None


def refuse_freeze(
    user: User | None, account_id: str, *, kind: str, active_kinds: Collection[str]
) -> Refusal | None:
    """Reviewers, or a rule (no user), freeze what is not frozen yet."""
    if user is not None and (refusal := _refuse_role(user, REVIEWERS, to="freeze accounts")):
        return refusal
    frozen = next((active for active in active_kinds if active in {kind, "all"}), None)
    if frozen is None:
        return None
    return Refusal(
        sentence=f"account {account_id} is frozen for {frozen} already; release it first",
        hint=f"This account is frozen for {frozen} already.",
    )


def refuse_release(
    user: User, account_id: str, *, pending_alert_id: int | None, active_kinds: Collection[str]
) -> Refusal | None:
    """Reviewers release a frozen account once all its alerts are decided."""
    refusal = _refuse_role(user, REVIEWERS, to="release accounts")
    if refusal is not None:
        return refusal
    if pending_alert_id is not None:
        return Refusal(
            sentence=f"account {account_id} has a pending alert; decide it before the release",
            hint=f"Alert {pending_alert_id} of this account is not decided yet.",
        )
    if not active_kinds:
        return Refusal(
            sentence=f"account {account_id} is not frozen; nothing to release",
            hint="This account is not frozen.",
        )
    return None


def _refuse_role(user: User, roles: tuple[Role, ...], *, to: str, hint: str = "") -> Refusal | None:
    if user.role in roles:
        return None
    return Refusal(
        sentence=f"{user.name} is {user.role} and may not {to}; "
        f"ask one who is {' or '.join(roles)}",
        hint=f"You are {user.role} and {hint or f'may not {to}'}.",
        error=ForbiddenError,
    )


def _refuse_decided(alert: AlertStatus) -> Refusal | None:
    if alert.state != "decided":
        return None
    return Refusal(
        sentence=f"alert {alert.id} was decided as {alert.verdict} by {alert.reviewer} already; "
        "a senior can reverse it",
        hint=f"{alert.reviewer} decided this alert already.",
    )


def _refuse_in_review(alert: AlertStatus) -> Refusal | None:
    if alert.state != "in_review":
        return None
    return Refusal(
        sentence=f"alert {alert.id} is in review by {alert.reviewer}; "
        "ask them to put it back, or a senior",
        hint=f"{alert.reviewer} is reviewing this alert.",
    )
