"""Holds: an account is frozen for a pending alert or in somebody's name, and stays so until its alerts are decided."""

from datetime import datetime
from typing import Literal, get_args

from sqlalchemy import Connection, Engine, exists, insert, select, update

from pipeline.casework.audit import MACHINE, Subject, record
from pipeline.casework.database import writer
from pipeline.casework.errors import RefusedError
from pipeline.casework.permissions import REVIEWERS, require_role
from pipeline.casework.tables import Alert, Hold

HoldKind = Literal["debit", "credit", "all"]
HOLD_KINDS: tuple[HoldKind, ...] = get_args(HoldKind)


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
        if owner is not None:
            require_role(connection, owner, REVIEWERS, to="freeze accounts")
        elif not is_pending(connection, portfolio, account_id):
            raise RefusedError(
                f"account {account_id} has no pending alert; name an owner of the hold"
            )
        _refuse_second_freeze(connection, portfolio, account_id, kind)
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
        require_role(connection, by, REVIEWERS, to="release accounts")
        if is_pending(connection, portfolio, account_id):
            raise RefusedError(
                f"account {account_id} has a pending alert; decide it before the release"
            )
        released = (
            update(Hold)
            .where(
                Hold.portfolio == portfolio,
                Hold.account_id == account_id,
                Hold.released_at.is_(None),
            )
            .values(released_at=now, released_by=by)
            .returning(Hold.kind)
        )
        kinds = sorted(connection.scalars(released))
        if not kinds:
            raise RefusedError(f"account {account_id} is not frozen; nothing to release")
        subject = Subject(portfolio=portfolio, account_id=account_id)
        record(
            connection, by, "released the account", subject, at=now, note=note.strip(), kinds=kinds
        )


def is_pending(connection: Connection, portfolio: str, account_id: str) -> bool:
    """Whether an alert of the account still waits for its verdict."""
    pending = exists().where(
        Alert.portfolio == portfolio, Alert.account_id == account_id, Alert.state != "decided"
    )
    return bool(connection.scalar(select(pending)))


def give_owner(
    connection: Connection, portfolio: str, account_id: str, *, owner: str, now: datetime
) -> None:
    """Put a name on the account's nameless holds: the alert that stood for them has just been decided."""
    nameless = (
        update(Hold)
        .where(
            Hold.portfolio == portfolio,
            Hold.account_id == account_id,
            Hold.released_at.is_(None),
            Hold.owner.is_(None),
        )
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
            f"a hold is reviewed after it begins, not by {review_by:%Y-%m-%d %H:%M}; choose a later time"
        )


def _refuse_second_freeze(
    connection: Connection, portfolio: str, account_id: str, kind: HoldKind
) -> None:
    active = select(Hold.kind).where(
        Hold.portfolio == portfolio,
        Hold.account_id == account_id,
        Hold.released_at.is_(None),
        Hold.kind.in_({kind, "all"}),
    )
    frozen = connection.scalars(active).first()
    if frozen is not None:
        raise RefusedError(f"account {account_id} is frozen for {frozen} already; release it first")
