"""Who may act, and the record that they did: every change of casework passes here in its own transaction."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast, get_args

from sqlalchemy import Connection, insert, select

from pipeline.casework.refusals import ForbiddenError
from pipeline.casework.tables import Audit, UserAccount

Role = Literal["analyst", "senior", "manager", "viewer"]
ROLES: tuple[Role, ...] = get_args(Role)
REVIEWERS: tuple[Role, ...] = ("analyst", "senior", "manager")
SENIORS: tuple[Role, ...] = ("senior", "manager")
MACHINE = "strata"  # stands in the audit where no person acted


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What an audit row is about."""

    portfolio: str | None = None
    account_id: str | None = None
    alert_id: int | None = None
    user_name: str | None = None


def require_role(connection: Connection, name: str, roles: tuple[Role, ...], *, to: str) -> Role:
    """The role of an active user of that name; refused unless it is one of `roles`. `to` says what they want to do."""
    stored = connection.scalar(select(UserAccount.role).where(UserAccount.name == name, UserAccount.active))
    if stored is None:
        raise ForbiddenError(f"{name!r} is no active user; add them with: strata user add {name} --role analyst")
    role = cast(Role, stored)
    if role not in roles:
        raise ForbiddenError(f"{name} is {role} and may not {to}; ask one who is {' or '.join(roles)}")
    return role


def record(connection: Connection, who: str, what: str, subject: Subject, *, at: datetime, **details: object) -> None:
    """One audit row, in the transaction of the change it tells of."""
    connection.execute(insert(Audit), [audit_row(who, what, subject, at=at, **details)])


def audit_row(who: str, what: str, subject: Subject, *, at: datetime, **details: object) -> dict[str, Any]:
    """The values of one audit row, for writing many at once."""
    return {
        "at": at,
        "who": who,
        "what": what,
        "portfolio": subject.portfolio,
        "account_id": subject.account_id,
        "alert_id": subject.alert_id,
        "user_name": subject.user_name,
        "details": details,
    }
