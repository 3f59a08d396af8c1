"""A row-level expression of a portfolio: read from its syntax tree, and written again.

What it may hold is a closed list, which DuckDB and Spark understand alike. What fails on one row (a
division by 0, the logarithm of 0) is null there, so that no value stops a run.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from math import isfinite
from typing import Any

import duckdb

from features.schema import Kind

COMPARISONS = {
    "COMPARE_EQUAL": "=",
    "COMPARE_NOTEQUAL": "<>",
    "COMPARE_LESSTHAN": "<",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
}
OPERATORS = {"+": "+", "-": "-", "*": "*", "||": "||", "~~": "LIKE", "!~~": "NOT LIKE"}
# the same in every engine, whatever the values
FUNCTIONS = (
    *("abs", "sign", "floor", "ceil", "round", "greatest", "least", "sin", "cos", "nullif"),
    *("lower", "upper", "trim", "length", "substring", "substr", "hour", "minute", "day", "month"),
    "year",
)
POSITIVE = ("ln", "log2", "log10")  # of what is above 0
MADE = ("coalesce", "sqrt", "CASE", "CAST(x AS DOUBLE)")  # beside them, and written in their way
AGGREGATES = ("count", "count_star", "sum", "avg", "mean", "min", "max", "median", "stddev")
MOST = "1e300"  # beyond it is no number that anything can be learned of
TYPES: dict[Kind, str] = {
    "text": "VARCHAR",
    "number": "DOUBLE",
    "time": "TIMESTAMPTZ",
    "flag": "BOOLEAN",
}
LABELS = ("is_fraud", "label_known_at")
ONE_ROW = "write an expression over the columns and features of one payment"

Node = Mapping[str, Any]
Sight = Callable[[str], Kind | None]


class ExpressionError(ValueError):
    """What is no row-level expression; the sentence says why, and what to write."""


@dataclass(frozen=True, kw_only=True)
class Expression:
    """An expression as the engines get it, what it holds, and the columns and features it reads."""

    sql: str
    kind: Kind
    names: tuple[str, ...]


def names_of(said: str) -> tuple[str, ...]:
    """The columns and features that an expression reads, in lower case.

    Raises ExpressionError where it is none.

    >>> names_of("amount / Basket")
    ('amount', 'basket')
    """
    nodes = _nodes(_tree(said))
    found = [node["column_names"] for node in nodes if node.get("class") == "COLUMN_REF"]
    return tuple(dict.fromkeys(".".join(names).lower() for names in found))


def expression(said: str, sight: Sight) -> Expression:
    """Read an expression over what `sight` knows, each name with its kind.

    Raises ExpressionError for what looks beyond its row, for a name that is not known, and for what
    is not on the list.

    >>> expression("amount / fee", lambda name: "number").sql
    'CASE WHEN abs((amount / nullif(fee, 0))) < 1e300 THEN (amount / nullif(fee, 0)) END'
    """
    tree = _tree(said)
    names = names_of(said)
    kinds = {name: _known(name, sight) for name in names}
    sql = _written(tree)
    kind = _kind(sql, tuple(kinds.items()))
    is_plain = sql in kinds
    if kind == "number" and not is_plain:
        sql = f"CASE WHEN abs({sql}) < {MOST} THEN {sql} END"
    return Expression(sql=sql, kind=kind, names=names)


@cache
def _tree(said: str) -> Node:
    with duckdb.connect(":memory:") as connection:
        row = connection.execute("SELECT json_serialize_sql(?)", [f"SELECT ({said}\n)"]).fetchone()
    tree = json.loads(row[0]) if row else {}
    if tree.get("error"):
        raise ExpressionError(f"cannot be understood ({tree['error_message']}); {ONE_ROW}")
    found: Node = tree["statements"][0]["node"]["select_list"][0]
    if found.get("function_name") == "row":  # what stands in brackets with a comma, or is empty
        raise ExpressionError(f"is not one value; {ONE_ROW}")
    return found


def _nodes(tree: object) -> Iterator[Node]:
    if isinstance(tree, dict):
        yield tree
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    for part in parts:
        yield from _nodes(part)


def _known(name: str, sight: Sight) -> Kind:
    if name in LABELS:
        raise ExpressionError(
            f"reads {name}, which nobody knows yet when a payment is judged; "
            "take fraud_count or another aggregate of labels over a key"
        )
    kind = sight(name)
    if kind is None:
        raise ExpressionError(
            f"reads {name!r}, which is neither a column of the portfolio nor a feature; "
            "map it in [columns], or declare it"
        )
    return kind


def _written(node: Node) -> str:
    """An expression as every engine understands it."""
    writer = WRITERS.get(str(node["class"]))
    if writer is None:
        raise ExpressionError(f"has a {str(node['class']).lower()}; {ONE_ROW}")
    return writer(node)


def _column(node: Node) -> str:
    return ".".join(node["column_names"]).lower()


def _constant(node: Node) -> str:
    literal = node["literal"]
    kind, text = literal["kind"], str(literal.get("text", ""))
    if kind == "NULL_LITERAL":
        return "NULL"
    if kind == "BOOLEAN":
        return text.upper()
    if kind == "STRING":
        if "\\" in text:  # Spark takes it for a sign of its own
            raise ExpressionError(f"has the text {text!r}; write it without a backslash")
        return "'" + text.replace("'", "''") + "'"
    if kind == "INTEGER" and abs(int(text)) < 2**31:
        return text
    if not isfinite(float(text)):
        raise ExpressionError(f"has the number {text}; write one below {MOST}")
    return text if "e" in text.lower() else f"{text}e0"  # a double in every engine


def _comparison(node: Node) -> str:
    sign = COMPARISONS.get(node["type"])
    if sign is None:
        raise _not_listed(str(node["type"]).removeprefix("COMPARE_").replace("_", " ").lower())
    return f"({_written(node['left'])} {sign} {_written(node['right'])})"


def _conjunction(node: Node) -> str:
    word = f" {str(node['type']).removeprefix('CONJUNCTION_')} "
    return f"({word.join(map(_written, node['children']))})"


def _between(node: Node) -> str:
    low, high = _written(node["lower"]), _written(node["upper"])
    return f"({_written(node['input'])} BETWEEN {low} AND {high})"


def _operator(node: Node) -> str:
    first, *others = map(_written, node["children"])
    kind = node["type"]
    if kind == "OPERATOR_NOT":
        return f"(NOT {first})"
    if kind in ("OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL"):
        return f"({first} {str(kind).removeprefix('OPERATOR_').replace('_', ' ')})"
    if kind == "COMPARE_IN":
        return f"({first} IN ({', '.join(others)}))"
    if kind == "OPERATOR_COALESCE":
        return f"coalesce({', '.join([first, *others])})"
    raise _not_listed(str(kind).lower())


def _case(node: Node) -> str:
    checks = [
        f"WHEN {_written(one['when_expr'])} THEN {_written(one['then_expr'])}"
        for one in node["case_checks"]
    ]
    return f"CASE {' '.join(checks)} ELSE {_written(node['else_expr'])} END"


def _cast(node: Node) -> str:
    if node["type_expr"].get("type_name") != "DOUBLE":
        raise ExpressionError(
            f"casts to {node['type_expr'].get('type_name', 'another type')}; "
            "cast to DOUBLE, and take floor(x) for a whole number"
        )
    return f"TRY_CAST({_written(node['child'])} AS DOUBLE)"


def _function(node: Node) -> str:
    name = str(node["function_name"])
    arguments = [_written(one["expression"]) for one in node["arguments"]]
    if name in AGGREGATES or node.get("distinct") or node.get("filter"):
        raise ExpressionError(
            f"has the aggregate {name.removesuffix('_star')}; declare a feature with "
            f"aggregate = ..., key and span, and name that feature here"
        )
    if name in ("/", "%"):
        return f"({arguments[0]} {name} nullif({arguments[1]}, 0))"
    if name in OPERATORS and len(arguments) == 2:
        return f"({arguments[0]} {OPERATORS[name]} {arguments[1]})"
    if name == "-":
        return f"(- {arguments[0]})"
    if name in POSITIVE and len(arguments) == 1:
        return f"{name}(CASE WHEN {arguments[0]} > 0 THEN {arguments[0]} END)"
    if name == "sqrt":
        return f"sqrt(CASE WHEN {arguments[0]} >= 0 THEN {arguments[0]} END)"
    if name not in FUNCTIONS:
        raise _not_listed(name)
    return f"{name}({', '.join(arguments)})"


def _not_listed(name: str) -> ExpressionError:
    known = ", ".join((*FUNCTIONS, *POSITIVE, *MADE))
    return ExpressionError(
        f"has {name!r}, which not every engine does alike; take + - * / %, ||, LIKE, comparisons, "
        f"AND, OR, NOT, IN, BETWEEN, {known}"
    )


WRITERS: dict[str, Callable[[Node], str]] = {
    "COLUMN_REF": _column,
    "CONSTANT": _constant,
    "COMPARISON": _comparison,
    "CONJUNCTION": _conjunction,
    "BETWEEN": _between,
    "OPERATOR": _operator,
    "CASE": _case,
    "CAST": _cast,
    "FUNCTION": _function,
}


@cache
def _kind(sql: str, kinds: tuple[tuple[str, Kind], ...]) -> Kind:
    """What the expression holds, by DuckDB's own reading of it."""
    columns = [f"NULL::{TYPES[kind]} AS {name}" for name, kind in kinds]
    seen = f"(SELECT {', '.join(columns or ['1 AS none'])})"
    try:
        with duckdb.connect(":memory:") as connection:
            (found,) = connection.sql(f"SELECT {sql} FROM {seen}").types  # noqa: S608
    except duckdb.Error as error:
        reason = " ".join(re.split("LINE|You might need", str(error))[0].split()).rstrip(".")
        raise ExpressionError(f"cannot be computed ({reason}); {ONE_ROW}") from error
    kind = _KINDS.get(str(found).split("(", maxsplit=1)[0])
    if kind is None:
        raise ExpressionError(f"gives a {found}; make a number, a text or true and false of it")
    return kind


def _numbers(*names: str) -> dict[str, Kind]:
    return dict.fromkeys(names, "number")


_KINDS: dict[str, Kind] = {
    "VARCHAR": "text",
    "BOOLEAN": "flag",
    **_numbers("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL"),
}


def as_number(sql: str, kind: Kind) -> str:
    """Write a value as a number: true is 1, false 0.

    >>> as_number("declined", "flag")
    'CASE WHEN declined THEN 1.0 WHEN NOT declined THEN 0.0 END'
    """
    return f"CASE WHEN {sql} THEN 1.0 WHEN NOT {sql} THEN 0.0 END" if kind == "flag" else sql
