"""Turning a page model into HTML or its JSON twin, and a refusal into a page of one sentence."""

from pathlib import Path
from typing import Any

from fastapi import Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.responses import HTMLResponse, JSONResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dashboards import formatting
from pipeline.casework import User

FOLDER = Path(__file__).parent


class Pages:
    """The templates, with the words they share."""

    def __init__(self, title: str) -> None:
        self._templates = Environment(
            loader=FileSystemLoader(FOLDER / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters["moment"] = formatting.moment
        self._templates.filters["counted"] = formatting.counted
        self._templates.globals["desk_title"] = title

    def html(
        self, template: str, *, user: User | None, status: int = 200, **facts: Any
    ) -> HTMLResponse:
        """One template filled with its page model."""
        text = self._templates.get_template(template).render(
            user=user, flash=facts.pop("flash", None), **facts
        )
        return HTMLResponse(text, status_code=status)

    def refusal(
        self, request: Request, sentence: str, *, status: int, user: User | None
    ) -> Response:
        """One sentence, as a page or for a JSON twin as JSON."""
        end = "" if sentence.endswith(".") else "."
        shown = sentence[:1].upper() + sentence[1:] + end
        if request.url.path.endswith(".json"):
            return json_twin({"error": shown}, status=status)
        return self.html("refusal.html", user=user, status=status, sentence=shown, number=status)


def json_twin(page: object, *, status: int = 200) -> JSONResponse:
    """The page model as JSON."""
    return JSONResponse(jsonable_encoder(page), status_code=status)
