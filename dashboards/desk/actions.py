"""What a person does at the desk: each form is one change in casework, then the way leads on."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import RedirectResponse

from dashboards import formatting
from dashboards.auth import current_user
from pipeline.casework import (
    Engine,
    HoldKind,
    User,
    Verdict,
    alert_page,
    claim,
    decide,
    freeze,
    queue,
    release,
    reverse,
    unclaim,
)

SignedIn = Annotated[User, Depends(current_user)]
Note = Annotated[str, Form(max_length=2_000)]
Key = Annotated[str, Form(max_length=500)]

action_routes = APIRouter()


@action_routes.post("/alerts/{alert_id:int}/verdict")
def give_verdict(
    request: Request,
    user: SignedIn,
    alert_id: int,
    verdict: Annotated[Verdict, Form()],
    note: Note = "",
) -> RedirectResponse:
    """Decide, and go on to the alert that is worth most now."""
    desk = request.app.state
    decide(desk.engine, alert_id, verdict=verdict, note=note, by=user.name, now=desk.clock())
    return _see(_next_in_queue(desk.engine, alert_id), decided=str(alert_id))


@action_routes.post("/alerts/{alert_id:int}/reversal")
def give_reversal(
    request: Request,
    user: SignedIn,
    alert_id: int,
    verdict: Annotated[Verdict, Form()],
    note: Note = "",
) -> RedirectResponse:
    """Turn a verdict round, with the reason."""
    desk = request.app.state
    reverse(desk.engine, alert_id, verdict=verdict, note=note, by=user.name, now=desk.clock())
    return _see(f"/alerts/{alert_id}", done="reversed")


@action_routes.post("/alerts/{alert_id:int}/take")
def claim_alert(request: Request, user: SignedIn, alert_id: int) -> RedirectResponse:
    """Take an alert into review."""
    desk = request.app.state
    claim(desk.engine, alert_id, by=user.name, now=desk.clock())
    return _see(f"/alerts/{alert_id}", done="taken")


@action_routes.post("/alerts/{alert_id:int}/return")
def unclaim_alert(request: Request, user: SignedIn, alert_id: int) -> RedirectResponse:
    """Put an alert back into the queue."""
    desk = request.app.state
    unclaim(desk.engine, alert_id, by=user.name, now=desk.clock())
    return _see(f"/alerts/{alert_id}", done="returned")


@action_routes.post("/alerts/{alert_id:int}/freeze")
def freeze_account(
    *,
    request: Request,
    user: SignedIn,
    alert_id: int,
    kind: Annotated[HoldKind, Form()],
    reason: Note,
    review_by: Annotated[date, Form()],
) -> RedirectResponse:
    """Freeze the alert's account in the user's name, to be reviewed by the end of a day in UTC."""
    desk = request.app.state
    alert = alert_page(desk.engine, alert_id).alert
    end_of_day = datetime.combine(review_by, time(), tzinfo=UTC) + timedelta(days=1, seconds=-1)
    freeze(
        desk.engine,
        alert.portfolio,
        alert.account_id,
        kind=kind,
        reason=reason,
        owner=user.name,
        review_by=end_of_day,
        now=desk.clock(),
    )
    return _see(f"/alerts/{alert_id}", done="frozen")


@action_routes.post("/holds/release")
def release_account(
    *,
    request: Request,
    user: SignedIn,
    portfolio: Key,
    account_id: Key,
    note: Note = "",
    alert_id: Annotated[int | None, Form()] = None,
) -> RedirectResponse:
    """End all holds of an account; the way leads back to where it was asked."""
    desk = request.app.state
    release(desk.engine, portfolio, account_id, by=user.name, note=note, now=desk.clock())
    return _see("/holds" if alert_id is None else f"/alerts/{alert_id}", done="released")


def _next_in_queue(engine: Engine, alert_id: int) -> str:
    portfolio = alert_page(engine, alert_id).alert.portfolio
    waiting = queue(engine, portfolio, limit=1)
    return f"/alerts/{waiting[0].id}" if waiting else "/"


def _see(path: str, **done: str) -> RedirectResponse:
    return RedirectResponse(f"{path}?{formatting.query(**done)}", status_code=303)
