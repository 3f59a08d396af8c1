"""Signing in and out: a password once, then a cookie that names a session kept on the server."""

from typing import Annotated

from fastapi import APIRouter, Cookie, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from dashboards.security import GuessLimit
from pipeline.casework import User, check_password, close_session, open_session, session_user

COOKIE = "strata_session"
WRONG = (
    "That name and password do not go together. Ask for a new account with: strata user add NAME."
)
TOO_MANY = "Too many wrong passwords for this name. Wait five minutes and try again."

auth_routes = APIRouter()


class NotSignedInError(Exception):
    """The page is for people who are signed in."""


def current_user(request: Request, strata_session: Annotated[str | None, Cookie()] = None) -> User:
    """Who asks, by their session cookie."""
    desk = request.app.state
    user = session_user(desk.engine, strata_session, now=desk.clock()) if strata_session else None
    if user is None:
        raise NotSignedInError
    request.state.user = user
    return user


@auth_routes.get("/login")
def show_login(request: Request, wanted: Annotated[str, Query(max_length=500)] = "/") -> Response:
    """Who are you?"""
    return _login_page(request, wanted=wanted)


@auth_routes.post("/login")
def login(
    request: Request,
    name: Annotated[str, Form(max_length=200)],
    password: Annotated[str, Form(max_length=1_000)],
    wanted: Annotated[str, Form(max_length=500)] = "/",
) -> Response:
    """Open a session for the right password; a name that is guessed at waits."""
    desk = request.app.state
    limit = _limit(request)
    now = desk.clock()
    if not limit.allows(name, now):
        return _login_page(request, wanted=wanted, name=name, sentence=TOO_MANY, status=429)
    user = check_password(desk.engine, name, password)
    if user is None:
        return _login_page(request, wanted=wanted, name=name, sentence=WRONG, status=403)
    limit.succeeded(name)
    response = RedirectResponse(_own_path(wanted), status_code=303)
    token = open_session(desk.engine, user, now=now)
    secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=secure, path="/")
    return response


@auth_routes.post("/logout")
def logout(request: Request, strata_session: Annotated[str | None, Cookie()] = None) -> Response:
    """End the session on the server, not only in the browser."""
    desk = request.app.state
    if strata_session:
        close_session(desk.engine, strata_session, now=desk.clock())
    response = RedirectResponse("/login", status_code=303)
    response.delete_cookie(COOKIE, path="/")
    return response


def _login_page(
    request: Request, *, wanted: str, name: str = "", sentence: str | None = None, status: int = 200
) -> Response:
    page: Response = request.app.state.pages.html(
        "login.html",
        user=None,
        status=status,
        wanted=_own_path(wanted),
        name=name,
        sentence=sentence,
    )
    return page


def _own_path(wanted: str) -> str:
    """Only a path of this desk: //elsewhere and /\\elsewhere are other hosts to a browser."""
    is_path = wanted.startswith("/") and not wanted.startswith(("//", "/\\"))
    return wanted if is_path and wanted.isprintable() else "/"


def _limit(request: Request) -> GuessLimit:
    limit: GuessLimit = request.app.state.guess_limit
    return limit
