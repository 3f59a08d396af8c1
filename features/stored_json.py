"""JSON that is read back: held against its type, and refused in one sentence where it is not of it.

What a sentence lacks is the remedy, which whoever reads the file knows.
"""

import reprlib
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

Stored = TypeVar("Stored")


def read_json(kind: type[Stored], file: Path) -> Stored:
    """Read a file of JSON as a value of this kind; see `parse_json`."""
    return parse_json(kind, file.read_bytes(), name=file.name)


def parse_json(kind: type[Stored], text: str | bytes, *, name: str) -> Stored:
    """Read JSON as a value of this kind, which knows all its keys and turns no text into a number.

    Raises ValueError for any other JSON, and for what is none.

    >>> parse_json(dict[str, float], '{"low": 1, "high": 2.5}', name="range.json")
    {'low': 1.0, 'high': 2.5}
    >>> parse_json(dict[str, float], '{"low": "1"}', name="range.json")
    Traceback (most recent call last):
    ValueError: range.json makes no sense at low: input should be a valid number, found '1'
    """
    try:
        return TypeAdapter(kind).validate_json(text, strict=True, extra="forbid")
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        raise ValueError(f"{name} makes no sense at {place_and_problem(wrong)}") from error


def place_and_problem(wrong: ErrorDetails) -> str:
    """Where something is wrong, what, and the value seen.

    >>> missing = {"type": "missing", "loc": ("groups", 0, "name"), "msg": "Field required"}
    >>> place_and_problem(missing | {"input": {}})
    'groups.0.name: field required, found {}'
    """
    place = ".".join(str(step) for step in wrong["loc"]) or "the top"
    problem = wrong["msg"].removeprefix("Value error, ")
    return f"{place}: {problem[:1].lower()}{problem[1:]}, found {reprlib.repr(wrong['input'])}"
