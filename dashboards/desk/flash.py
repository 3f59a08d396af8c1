"""The line that says what was just done; read from what is stored, so no link can make it up."""

from collections.abc import Mapping

from dashboards import formatting
from pipeline.casework import Engine, MissingError, alert_page

DONE = {
    "taken": "You have taken this alert; colleagues see that.",
    "returned": "The alert is back in the queue.",
    "frozen": "The account is frozen.",
    "released": "The account is released.",
    "reversed": "The verdict is reversed; its transactions have new labels.",
}


def flash(engine: Engine, asked: Mapping[str, str]) -> str | None:
    """What stands on top of the page, if anything was done."""
    decided = asked.get("decided", "")
    if decided.isascii() and decided.isdigit() and len(decided) < 10:
        return _verdict(engine, int(decided))
    return DONE.get(asked.get("done", ""))


def _verdict(engine: Engine, alert_id: int) -> str | None:
    try:
        alert = alert_page(engine, alert_id).alert
    except MissingError:
        return None
    if alert.verdict is None:
        return None
    labels = formatting.counted(alert.transactions, "transaction")
    return f"Alert {alert.id} of {alert.account_id} is decided: {alert.verdict}. {labels} labelled."
