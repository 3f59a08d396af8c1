"""The record of who did what: one row a change, written in the change's own transaction."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert

from pipeline.casework.tables import Audit

MACHINE = "strata"  # stands in the audit where no person acted


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What an audit row is about."""

    portfolio: str | None = None
    account_id: str | None = None
    alert_id: int | None = None
    user_name: str | None = None


def record(
    connection: Connection,
    who: str,
    what: str,
    subject: Subject,
    *,
    at: datetime,
    **details: object,
) -> None:
    """One audit row, in the transaction of the change it records."""
    connection.execute(insert(Audit), [audit_row(who, what, subject, at=at, **details)])


def audit_row(
    who: str, what: str, subject: Subject, *, at: datetime, **details: object
) -> dict[str, Any]:
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
