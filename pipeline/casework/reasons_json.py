"""Reasons and near cases as the JSON that the database keeps of them, validated when read back.

>>> stored = to_json([StageReason(group="ip", increment=1.5)])
>>> stored
[{'group': 'ip', 'increment': 1.5, 'facts': ()}]
>>> from_json(StageReason, stored)
(StageReason(group='ip', increment=1.5, facts=()),)
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.flagged import NearCase, StageReason

if TYPE_CHECKING:
    from pydantic import TypeAdapter

STORED_NAMES = {"attribution": "share"}  # where a field's name in the database is another
Stored = TypeVar("Stored", StageReason, NearCase)


def to_json(values: Iterable[StageReason | NearCase]) -> list[dict[str, Any]]:
    """The values as JSON holds them, one object each."""
    return [asdict(value, dict_factory=_to_object) for value in values]


def from_json(kind: type[Stored], stored: object) -> tuple[Stored, ...]:
    """The values back from their stored JSON; what is not of this kind is refused."""
    from pydantic import ValidationError  # noqa: PLC0415 - most commands read no reasons

    try:
        values: tuple[Stored, ...] = _readers()[kind].validate_python(stored)
    except ValidationError as failure:
        first = failure.errors()[0]
        place = ".".join(str(step) for step in first["loc"]) or "the top"
        raise ValueError(
            f"casework holds a {kind.__name__} that cannot be read (at {place}: {first['msg']}, "
            f"found {reprlib.repr(first['input'])}); restore the database from a backup"
        ) from failure
    return values


def _to_object(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    return {STORED_NAMES.get(name, name): _to_value(value) for name, value in fields}


def _to_value(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


@cache
def _readers() -> dict[type, TypeAdapter[Any]]:
    from pydantic import ConfigDict, TypeAdapter  # noqa: PLC0415 - as above

    config = ConfigDict(
        alias_generator=lambda name: STORED_NAMES.get(name, name),
        extra="forbid",
    )
    return {
        StageReason: TypeAdapter(tuple[StageReason, ...], config=config),
        NearCase: TypeAdapter(tuple[NearCase, ...], config=config),
    }
