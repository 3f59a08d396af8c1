"""Casework, what people do with what the model flags: alerts, reviews, holds, labels, and an audit of every change.

Every function that changes something is one transaction, and its audit row is written in it. The
other rooms take `Engine` from here: it stands for the opened database, and sqlalchemy stays in this
folder.
"""

from pipeline.casework.alerts import (
    RaisedAlerts,
    alerted_up_to,
    in_alerts,
    put_back,
    raise_alerts,
    take,
)
from pipeline.casework.database import Engine, open_casework
from pipeline.casework.errors import ForbiddenError, MissingError, RefusedError
from pipeline.casework.holds import HOLD_KINDS, HoldKind, freeze, release
from pipeline.casework.permissions import REVIEWERS, ROLES, SENIORS, Role
from pipeline.casework.queries import (
    AlertCounts,
    AlertFacts,
    AlertState,
    Amount,
    AuditFacts,
    CaseFacts,
    Counts,
    HoldFacts,
    LabelFacts,
    ReviewFacts,
    active_holds,
    alert_page,
    counts,
    labels_after,
    portfolios,
    queue,
)
from pipeline.casework.sessions import close_session, open_session, session_user
from pipeline.casework.users import User, add_user, check_password
from pipeline.casework.verdicts import VERDICTS, Verdict, decide, reverse
from pipeline.flagged import Fact, FlaggedTransaction, NearCase, StageReason

__all__ = [
    "HOLD_KINDS",
    "REVIEWERS",
    "ROLES",
    "SENIORS",
    "VERDICTS",
    "AlertCounts",
    "AlertFacts",
    "AlertState",
    "Amount",
    "AuditFacts",
    "CaseFacts",
    "Counts",
    "Engine",
    "Fact",
    "FlaggedTransaction",
    "ForbiddenError",
    "HoldFacts",
    "HoldKind",
    "LabelFacts",
    "MissingError",
    "NearCase",
    "RaisedAlerts",
    "RefusedError",
    "ReviewFacts",
    "Role",
    "StageReason",
    "User",
    "Verdict",
    "active_holds",
    "add_user",
    "alert_page",
    "alerted_up_to",
    "check_password",
    "close_session",
    "counts",
    "decide",
    "freeze",
    "in_alerts",
    "labels_after",
    "open_casework",
    "open_session",
    "portfolios",
    "put_back",
    "queue",
    "raise_alerts",
    "release",
    "reverse",
    "session_user",
    "take",
]
