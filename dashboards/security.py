"""What stands before every page: no foreign scripts, no forged forms, no endless guessing."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from threading import Lock
from urllib.parse import urlsplit

from fastapi import Request, Response

from pipeline.casework import ForbiddenError

Next = Callable[[Request], Awaitable[Response]]

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
SAFE_METHODS = ("GET", "HEAD")
GUESSES = 5
GUESS_WINDOW = timedelta(minutes=5)


async def add_headers(request: Request, call_next: Next) -> Response:
    """The same strict headers on every answer; what shows cases is never kept by a cache."""
    response = await call_next(request)
    response.headers.update(HEADERS)
    if not request.url.path.startswith("/static/"):
        response.headers["Cache-Control"] = "no-store"
    return response


def refuse_foreign_forms(request: Request) -> None:
    """A change must come from our own page: browsers say where a form was sent from."""
    if request.method in SAFE_METHODS:
        return
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin", "")
    is_ours = (
        site == "same-origin" if site else urlsplit(origin).netloc == request.headers.get("host")
    )
    if not is_ours:
        raise ForbiddenError(
            "this form was not sent from a page of the review desk; open the page and send it there"
        )


class GuessLimit:
    """Counts sign-ins by name; after five that failed in five minutes the name waits.

    >>> noon, limit = datetime(2025, 3, 10, 12), GuessLimit()
    >>> [limit.allows("ann", noon) for _ in range(6)]
    [True, True, True, True, True, False]
    >>> limit.allows("ann", noon + GUESS_WINDOW)
    True
    """

    def __init__(self) -> None:
        self._attempts: dict[str, list[datetime]] = {}
        self._lock = Lock()

    def allows(self, name: str, now: datetime) -> bool:
        """Count an attempt before its password is checked: guessing in parallel gains nothing."""
        with self._lock:
            self._forget_before(now - GUESS_WINDOW)
            attempts = self._attempts.setdefault(name, [])
            if len(attempts) >= GUESSES:
                return False
            attempts.append(now)
            return True

    def succeeded(self, name: str) -> None:
        """Forget the attempts of a name that signed in."""
        with self._lock:
            self._attempts.pop(name, None)

    def _forget_before(self, oldest: datetime) -> None:
        for name, attempts in list(self._attempts.items()):
            recent = [at for at in attempts if at > oldest]
            if recent:
                self._attempts[name] = recent
            else:
                del self._attempts[name]
