"""Holds: an account is frozen for a pending alert or in somebody's name.

It stays so until its alerts are decided.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from sqlalchemy import ColumnElement, Connection, Engine, and_, insert, select, update

from pipeline.casework.audit import MACHINE, Subject, record
from pipeline.casework.database import writer
from pipeline.casework.errors import RefusedError
from pipeline.casework.permissions import (
    active_user,
    refuse_freeze,
    refuse_release,
    require,
)
from pipeline.casework.tables import Alert, Hold

HoldKind = Literal["debit", "credit", "all"]
HOLD_KINDS: tuple[HoldKind, ...] = get_args(HoldKind)


@dataclass(frozen=True, kw_only=True)
class HoldFacts:
    """A hold, with the account's pending alert if there is one."""

    portfolio: str
    account_id: str
    kind: str
    reason: str
    owner: str | None
    since: datetime
    review_by: datetime
    released_at: datetime | None
    released_by: str | None
    pending_alert_id: int | None


def freeze(
    engine: Engine,
    portfolio: str,
    account_id: str,
    *,
    kind: HoldKind,
    reason: str,
    owner: str | None,
    review_by: datetime,
    now: datetime,
) -> None:
    """Freeze an account in the owner's name.

    With no owner (a rule froze it) only while an alert of it is pending.
    """
    _check(kind, reason, review_by, now=now)
    with writer(engine).begin() as connection:
        user = active_user(connection, owner) if owner is not None else None
        if user is None and pending_alert(connection, portfolio, account_id) is None:
            raise RefusedError(
                f"account {account_id} has no pending alert; name an owner of the hold"
            )
        active = _active_kinds(connection, portfolio, account_id)
        require(refuse_freeze(user, account_id, kind=kind, active_kinds=active))
        hold = {
            "portfolio": portfolio,
            "account_id": account_id,
            "kind": kind,
            "reason": reason.strip(),
            "owner": owner,
            "since": now,
            "review_by": review_by,
        }
        connection.execute(insert(Hold), [hold])
        subject = Subject(portfolio=portfolio, account_id=account_id)
        who = owner if owner is not None else MACHINE
        record(
            connection,
            who,
            f"froze the account: {kind}",
            subject,
            at=now,
            reason=reason,
            review_by=review_by.isoformat(),
        )


def release(
    engine: Engine, portfolio: str, account_id: str, *, by: str, note: str = "", now: datetime
) -> None:
    """End every hold of an account; refused while an alert of it is pending."""
    with writer(engine).begin() as connection:
        user = active_user(connection, by)
        pending = pending_alert(connection, portfolio, account_id)
        kinds = _active_kinds(connection, portfolio, account_id)
        require(refuse_release(user, account_id, pending_alert_id=pending, active_kinds=kinds))
        active = _active(portfolio, account_id)
        connection.execute(update(Hold).where(active).values(released_at=now, released_by=by))
        record(
            connection,
            by,
            "released the account",
            Subject(portfolio=portfolio, account_id=account_id),
            at=now,
            note=note.strip(),
            kinds=kinds,
        )


def active_holds(engine: Engine) -> tuple[HoldFacts, ...]:
    """The holds not yet released, the one to be reviewed first on top."""
    with engine.begin() as connection:
        holds = read_holds(connection, Hold.released_at.is_(None))
    return tuple(sorted(holds, key=lambda hold: hold.review_by))


def read_holds(connection: Connection, *wanted: ColumnElement[bool]) -> tuple[HoldFacts, ...]:
    """The wanted holds, in the order they were made."""
    pending = (
        (Alert.portfolio == Hold.portfolio)
        & (Alert.account_id == Hold.account_id)
        & (Alert.state != "decided")
    )
    columns = (
        Hold.portfolio,
        Hold.account_id,
        Hold.kind,
        Hold.reason,
        Hold.owner,
        Hold.since,
        Hold.review_by,
        Hold.released_at,
        Hold.released_by,
        Alert.id.label("pending_alert_id"),
    )
    rows = select(*columns).select_from(Hold).join(Alert, pending, isouter=True)
    return tuple(
        HoldFacts(**row._mapping)
        for row in connection.execute(rows.where(*wanted).order_by(Hold.id))
    )


def active_kinds_by_account(
    connection: Connection, account_ids: Sequence[str]
) -> dict[tuple[str, str], list[str]]:
    """How accounts are frozen now, by portfolio and account."""
    active = (
        select(Hold.portfolio, Hold.account_id, Hold.kind)
        .where(Hold.released_at.is_(None), Hold.account_id.in_(account_ids))
        .order_by(Hold.kind)
    )
    kinds: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in connection.execute(active):
        kinds[row.portfolio, row.account_id].append(row.kind)
    return kinds


def pending_alert(connection: Connection, portfolio: str, account_id: str) -> int | None:
    """The account's alert that still waits for its verdict, if there is one."""
    undecided = select(Alert.id).where(
        Alert.portfolio == portfolio,
        Alert.account_id == account_id,
        Alert.state != "decided",
    )
    return connection.scalar(undecided)


def give_owner(
    connection: Connection, portfolio: str, account_id: str, *, owner: str, now: datetime
) -> None:
    """Put a name on the account's nameless holds, as the alert they stood for was just decided."""
    nameless = (
        update(Hold)
        .where(_active(portfolio, account_id), Hold.owner.is_(None))
        .values(owner=owner)
        .returning(Hold.kind)
    )
    kinds = sorted(connection.scalars(nameless))
    if kinds:
        subject = Subject(portfolio=portfolio, account_id=account_id)
        record(connection, owner, "became owner of the hold", subject, at=now, kinds=kinds)


def _check(kind: str, reason: str, review_by: datetime, *, now: datetime) -> None:
    if kind not in HOLD_KINDS:
        raise RefusedError(f"{kind!r} is no kind of hold; choose {', '.join(HOLD_KINDS)}")
    if not reason.strip():
        raise RefusedError("a hold needs a reason; write one")
    if review_by <= now:
        raise RefusedError(
            f"a hold is reviewed after it begins, not by {review_by:%Y-%m-%d %H:%M}; "
            "choose a later time"
        )


def _active_kinds(connection: Connection, portfolio: str, account_id: str) -> list[str]:
    active = select(Hold.kind).where(_active(portfolio, account_id))
    return sorted(connection.scalars(active))


def _active(portfolio: str, account_id: str) -> ColumnElement[bool]:
    return and_(
        Hold.portfolio == portfolio,
        Hold.account_id == account_id,
        Hold.released_at.is_(None),
    )
