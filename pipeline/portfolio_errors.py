"""What is wrong with a portfolio.toml, in a sentence: the key, the value seen, what it may be."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.portfolio_tables import (
    AUTO,
    ExtraColumn,
    FeatureTable,
    KeyTable,
    PortfolioTables,
    Rule,
)

TYPES = {
    "list_type": "list",
    "string_type": "str",
    "bool_type": "bool",
    "int_type": "int",
    "float_type": "float",
}
NAMED_TABLES: dict[tuple[str, ...], type[BaseModel]] = {
    ("keys",): KeyTable,
    ("features",): FeatureTable,
    ("rules",): Rule,
    ("groups", "extra"): ExtraColumn,
}


class PortfolioError(ValueError):
    """A portfolio.toml says something that Strata does not understand."""


def first_error(error: ValidationError, text: Mapping[str, Any], file: Path) -> PortfolioError:
    """The first thing that is wrong; an unknown key comes first, as it explains what else is."""
    found = error.errors(include_url=False)
    unknown = [one for one in found if one["type"] == "extra_forbidden"]
    return PortfolioError(_sentence((unknown or found)[0], text, file))


def close_to(name: str, allowed: Iterable[str], *, otherwise: str) -> str:
    """What somebody who wrote `name` may have meant.

    >>> close_to("amout", ["amount", "country"], otherwise="choose another")
    "did you mean 'amount'?"
    """
    close = get_close_matches(name, list(allowed), n=1)
    return f"did you mean {close[0]!r}?" if close else otherwise


def _sentence(wrong: ErrorDetails, text: Mapping[str, Any], file: Path) -> str:
    path = tuple(str(part) for part in wrong["loc"])
    where, key, value = _where(path[:-1], file), path[-1], wrong["input"]
    match path:
        case ("name",):
            remedy = "give it one of lower-case letters, digits, - and _"
            return f"the name of {file} is {text.get('name')!r}; {remedy}"
        case ("columns", _):
            remedy = "map it to the name of a column of the source, or to SQL over its columns"
            return f"{key} in {where} is mapped to {value!r}; {remedy}"
        case ("groups", "order", *_):
            remedy = f"write it as a list of group names, or as {AUTO!r}"
            return f"order in [groups] of {file} is {text['groups']['order']!r}; {remedy}"
        case ("groups", "prices", _):
            return f"the price of {key} in {where} is {value!r}; give a number of 0 or more"
    if wrong["type"] in ("model_type", "dict_type"):
        return _no_table(path, value, file)
    return _of_its_kind(wrong, path, where)


def _no_table(path: tuple[str, ...], value: object, file: Path) -> str:
    if path[:-1] in NAMED_TABLES:
        return f"{_where(path, file)} is {value!r}; write it as a table"
    return f"{path[-1]} of {file} is {value!r}; write it as the table [{'.'.join(path)}]"


def _of_its_kind(wrong: ErrorDetails, path: tuple[str, ...], where: str) -> str:
    """The sentence for a kind of mistake that any table's key may have."""
    kind, key, value = wrong["type"], path[-1], wrong["input"]
    table = _table(path[:-1])
    if kind == "missing":
        return f"{where} is incomplete (it lacks {key!r}); add what is missing"
    if kind == "extra_forbidden":
        known = ", ".join(sorted(table.model_fields))
        hint = close_to(key, table.model_fields, otherwise=f"it knows {known}")
        return f"{where} has {key!r}, which means nothing to Strata; {hint}"
    if kind == "value_error":
        return f"{key} in {where}: {wrong['ctx']['error']}"
    if kind == "literal_error":
        return f"{key} in {where} is {value!r}; it must be {wrong['ctx']['expected']}"
    if kind in TYPES:
        return f"{key} in {where} is {value!r}; it must be of type {TYPES[kind]}"
    bounds = in_bounds(table.model_json_schema()["properties"][key])
    return f"{key} in {where} is {value}; it must be {bounds}"


def _where(path: tuple[str, ...], file: Path) -> str:
    return f"[{'.'.join(path)}] of {file}" if path else str(file)


def _table(path: tuple[str, ...]) -> type[BaseModel]:
    """The model of the table at a path of the file."""
    if path[:-1] in NAMED_TABLES:
        return NAMED_TABLES[path[:-1]]
    table: type[BaseModel] = PortfolioTables
    for name in path:
        table = table.model_fields[name].annotation  # type: ignore[assignment]  # a table's
    return table


def in_bounds(schema: Mapping[str, Any]) -> str:
    """What a number of this JSON schema must be; empty where nothing bounds it.

    >>> in_bounds({"minimum": 1}), in_bounds({"minimum": 0, "maximum": 0.5}), in_bounds({})
    ('at least 1', 'from 0 to 0.5', '')
    """
    if "maximum" in schema:
        return f"from {schema['minimum']:g} to {schema['maximum']:g}"
    return f"at least {schema['minimum']:g}" if "minimum" in schema else ""
