"""Casework, what people do with what the model flags: alerts, reviews, holds, labels, the audit.

Every function that changes something is one transaction, and its audit row is written in it. The
other rooms take `Engine` from here: it stands for the opened database, and sqlalchemy stays in this
folder.
"""

from pipeline.casework.alerts import (
    RaisedAlerts,
    alerted_up_to,
    claim,
    in_alerts,
    raise_alerts,
    unclaim,
)
from pipeline.casework.database import (
    DatabaseIdentity,
    Engine,
    give_to_home,
    identity_of,
    open_casework,
)
from pipeline.casework.errors import ForbiddenError, MissingError, RefusedError
from pipeline.casework.holds import (
    HoldFacts,
    HoldKind,
    active_holds,
    freeze,
    release,
)
from pipeline.casework.permissions import (
    AlertState,
    Role,
    User,
    refuse_claim,
    refuse_decision,
    refuse_freeze,
    refuse_release,
    refuse_reversal,
    refuse_unclaim,
)
from pipeline.casework.queries import (
    AlertCounts,
    AlertFacts,
    Amount,
    AuditFacts,
    CaseFacts,
    ReviewFacts,
    alert_page,
    counts,
    portfolios,
    queue,
)
from pipeline.casework.sessions import close_session, open_session, session_user
from pipeline.casework.users import add_user, check_password
from pipeline.casework.verdicts import (
    Verdict,
    decide,
    labels_after,
    read_label,
    reverse,
)

__all__ = [
    "AlertCounts",
    "AlertFacts",
    "AlertState",
    "Amount",
    "AuditFacts",
    "CaseFacts",
    "DatabaseIdentity",
    "Engine",
    "ForbiddenError",
    "HoldFacts",
    "HoldKind",
    "MissingError",
    "RaisedAlerts",
    "RefusedError",
    "ReviewFacts",
    "Role",
    "User",
    "Verdict",
    "active_holds",
    "add_user",
    "alert_page",
    "alerted_up_to",
    "check_password",
    "claim",
    "close_session",
    "counts",
    "decide",
    "freeze",
    "give_to_home",
    "identity_of",
    "in_alerts",
    "labels_after",
    "open_casework",
    "open_session",
    "portfolios",
    "queue",
    "raise_alerts",
    "read_label",
    "refuse_claim",
    "refuse_decision",
    "refuse_freeze",
    "refuse_release",
    "refuse_reversal",
    "refuse_unclaim",
    "release",
    "reverse",
    "session_user",
    "unclaim",
]
