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

from dashboards.auth import NotSignedInError, auth_routes, current_user
from dashboards.desk.actions import action_routes
from dashboards.desk.case import case_page
from dashboards.desk.flash import flash
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
    for routes in (auth_routes, page_routes, action_routes):
        app.include_router(routes)
    app.add_exception_handler(NotSignedInError, _to_sign_in)
    for error in (RefusedError, RequestValidationError, HTTPException):
        app.add_exception_handler(error, _refusal)
    return app


def serve(app: FastAPI, *, host: str = "127.0.0.1", port: int = 8600) -> None:
    """Serve the desk until it is interrupted."""
    uvicorn.run(app, host=host, port=port, log_level="warning", server_header=False)


page_routes = APIRouter()


@page_routes.get("/")
@page_routes.get("/queue.json")
def show_queue(
    request: Request,
    user: SignedIn,
    portfolio: Annotated[str, PORTFOLIO] = "",
    state: AlertState = "open",
    page: Annotated[int, Query(ge=1, le=100_000)] = 1,
) -> Response:
    """What should I review next?"""
    desk = request.app.state
    facts = queue_page(
        desk.engine,
        portfolio=portfolio or None,
        state=state,
        number=page,
        now=desk.clock(),
    )
    return _page_or_twin(request, "queue.html", facts, user)


@page_routes.get("/alerts/{alert_id:int}")
@page_routes.get("/alerts/{alert_id:int}.json")
def show_case(
    request: Request, user: SignedIn, alert_id: int, transaction: str | None = None
) -> Response:
    """Is this fraud?"""
    desk = request.app.state
    facts = case_page(
        desk.engine,
        alert_id,
        transaction_id=transaction,
        user=user,
        now=desk.clock(),
    )
    return _page_or_twin(request, "case.html", facts, user)


@page_routes.get("/holds")
@page_routes.get("/holds.json")
def show_holds(request: Request, user: SignedIn) -> Response:
    """Which accounts are frozen?"""
    desk = request.app.state
    facts = holds_page(desk.engine, user=user, now=desk.clock())
    return _page_or_twin(request, "holds.html", facts, user)


def _page_or_twin(request: Request, template: str, facts: object, user: User) -> Response:
    if request.url.path.endswith(".json"):
        return json_twin(facts)
    pages: Pages = request.app.state.pages
    line = flash(request.app.state.engine, request.query_params)
    return pages.html(template, user=user, page=facts, flash=line)


def _to_sign_in(request: Request, _error: Exception) -> Response:
    pages: Pages = request.app.state.pages
    if request.url.path.endswith(".json"):
        return pages.refusal(request, "sign in first", status=401, user=None)
    wanted = request.url.path if request.method == "GET" else "/"
    return RedirectResponse(f"/login?{urlencode({'wanted': wanted})}", status_code=303)


def _refusal(request: Request, error: Exception) -> Response:
    pages: Pages = request.app.state.pages
    user: User | None = getattr(request.state, "user", None)
    sentence, status = _sentence_and_status(request, error)
    return pages.refusal(request, sentence, status=status, user=user)


def _sentence_and_status(request: Request, error: Exception) -> tuple[str, int]:
    match error:
        case ForbiddenError():
            return str(error), 403
        case MissingError():
            return str(error), 404
        case RefusedError():
            return str(error), 409
        case RequestValidationError():
            first = error.errors()[0]
            problem = f"the field {first['loc'][-1]} is not right ({first['msg']})"
            return f"{problem}; go back and correct it", 422
        case HTTPException(status_code=404):
            return f"there is no page {request.url.path}; begin at the queue", 404
        case HTTPException(status_code=status):
            path = request.url.path
            return f"the page {path} cannot be asked that way; begin at the queue", status
    raise error
