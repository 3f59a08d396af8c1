"""The review desk: what waits, one case, the holds.

Each page answers one question and has a .json twin.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import urlencode

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from dashboards.auth import NotSignedInError, current_user, signing_in_routes
from dashboards.desk.actions import action_routes
from dashboards.desk.case import case_page
from dashboards.desk.flash import told
from dashboards.desk.holds import holds_page
from dashboards.desk.queue import queue_page
from dashboards.rendering import FOLDER, Pages, json_twin
from dashboards.security import GuessLimit, add_headers, refuse_foreign_forms
from pipeline.casework import AlertState, Engine, ForbiddenError, MissingError, RefusedError, User

Clock = Callable[[], datetime]
SignedIn = Annotated[User, Depends(current_user)]
PORTFOLIO = Query(max_length=200)


def utc_now() -> datetime:
    """The desk's clock outside tests."""
    return datetime.now(UTC)


def create_app(engine: Engine, *, clock: Clock = utc_now, title: str = "Strata") -> FastAPI:
    """The desk over one casework database; `clock` gives the time in UTC."""
    app = FastAPI(title=title, openapi_url=None, dependencies=[Depends(refuse_foreign_forms)])
    app.state.engine, app.state.clock = engine, clock
    app.state.pages, app.state.guess_limit = Pages(title), GuessLimit()
    app.middleware("http")(add_headers)
    app.mount("/static", StaticFiles(directory=FOLDER / "static"), name="static")
    for routes in (signing_in_routes, reading_routes, action_routes):
        app.include_router(routes)
    app.add_exception_handler(NotSignedInError, _to_sign_in)
    for error in (RefusedError, RequestValidationError, HTTPException):
        app.add_exception_handler(error, _refusal)
    return app


def serve(app: FastAPI, *, host: str = "127.0.0.1", port: int = 8600) -> None:
    """Serve the desk until it is interrupted."""
    uvicorn.run(app, host=host, port=port, log_level="warning", server_header=False)


reading_routes = APIRouter()


@reading_routes.get("/")
@reading_routes.get("/queue.json")
def show_queue(
    request: Request,
    user: SignedIn,
    portfolio: Annotated[str, PORTFOLIO] = "",
    state: AlertState = "open",
    page: Annotated[int, Query(ge=1, le=100_000)] = 1,
) -> Response:
    """What should I review next?"""
    state_of = request.app.state
    facts = queue_page(
        state_of.engine, portfolio=portfolio or None, state=state, number=page, now=state_of.clock()
    )
    return _page_or_twin(request, "queue.html", facts, user)


@reading_routes.get("/alerts/{alert_id:int}")
@reading_routes.get("/alerts/{alert_id:int}.json")
def show_case(
    request: Request, user: SignedIn, alert_id: int, transaction: str | None = None
) -> Response:
    """Is this fraud?"""
    state_of = request.app.state
    facts = case_page(
        state_of.engine, alert_id, transaction_id=transaction, user=user, now=state_of.clock()
    )
    return _page_or_twin(request, "case.html", facts, user)


@reading_routes.get("/holds")
@reading_routes.get("/holds.json")
def show_holds(request: Request, user: SignedIn) -> Response:
    """Which accounts are frozen?"""
    state_of = request.app.state
    return _page_or_twin(
        request, "holds.html", holds_page(state_of.engine, user=user, now=state_of.clock()), user
    )


def _page_or_twin(request: Request, template: str, facts: object, user: User) -> Response:
    if request.url.path.endswith(".json"):
        return json_twin(facts)
    pages: Pages = request.app.state.pages
    return pages.html(
        template, user=user, page=facts, told=told(request.app.state.engine, request.query_params)
    )


def _to_sign_in(request: Request, _error: Exception) -> Response:
    pages: Pages = request.app.state.pages
    if request.url.path.endswith(".json"):
        return pages.refusal(request, "sign in first", status=401, user=None)
    wanted = request.url.path if request.method == "GET" else "/"
    return RedirectResponse(f"/login?{urlencode({'wanted': wanted})}", status_code=303)


def _refusal(request: Request, error: Exception) -> Response:
    pages: Pages = request.app.state.pages
    user: User | None = getattr(request.state, "user", None)
    sentence, status = _said(request, error)
    return pages.refusal(request, sentence, status=status, user=user)


def _said(request: Request, error: Exception) -> tuple[str, int]:
    match error:
        case ForbiddenError():
            return str(error), 403
        case MissingError():
            return str(error), 404
        case RefusedError():
            return str(error), 409
        case RequestValidationError():
            first = error.errors()[0]
            return (
                f"the field {first['loc'][-1]} is not right ({first['msg']}); go back and correct it",
                422,
            )
        case HTTPException(status_code=404):
            return f"there is no page {request.url.path}; begin at the queue", 404
        case HTTPException(status_code=status):
            return (
                f"the page {request.url.path} cannot be asked that way; begin at the queue",
                status,
            )
    raise error
