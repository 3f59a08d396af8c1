"""[columns] as SQL: each of our columns is a column of theirs, or an expression over theirs.

An expression is one value of one row: no subquery, no window, no aggregate. In it a column is a
number where all its values are numbers that read the same when written again, and text elsewhere;
blanks and the words for null are null.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any

import duckdb

from features.schema import BY_NAME, REQUIRED, SchemaError
from pipeline.checks.column_sets import check_leaks, set_columns, set_values
from pipeline.checks.theirs import (
    Value,
    as_seen,
    ask,
    check_type,
    direct_value,
    find_column,
    listed,
    present_text,
)
from pipeline.portfolio import Portfolio
from pipeline.sources.delivery import Delivery, first_row, literal, numbered, quoted

REFUSED = ("SUBQUERY", "WINDOW", "STAR", "PARAMETER", "LAMBDA_REF")


def mapped_columns(
    portfolio: Portfolio, found: Sequence[str], *, required: Sequence[str] = REQUIRED
) -> dict[str, str]:
    """Ours -> theirs or SQL; without [columns], the columns that have our names.

    Raises SchemaError where a required one, or one of the portfolio's own, is not mapped.
    """
    mapping = dict(portfolio.columns)
    if not mapping:
        ours = [*BY_NAME, *portfolio.extra]
        mapping = {name: name for name in found if name in ours}
        in_capitals = {name.lower(): name for name in found if name.lower() in ours}
        mapping |= {name: theirs for name, theirs in in_capitals.items() if name not in mapping}
    mapping |= portfolio.key_columns
    named = [name for name in required if name != "transaction_id"]
    named += [*portfolio.extra, *portfolio.our_key_columns]
    if missing := [name for name in named if name not in mapping]:
        lacks = f"the source of {portfolio.name} lacks {', '.join(missing)}"
        if portfolio.columns:
            lacks = f"[columns] of {portfolio.file} lacks {', '.join(missing)}"
        line = f'{missing[0]} = "one of theirs, or SQL over them"'
        raise SchemaError(f"{lacks}; the source has {listed(found)}; write {line} in [columns]")
    return mapping


def values(
    delivery: Delivery,
    portfolio: Portfolio,
    *,
    is_tried: bool = False,
    required: Sequence[str] = REQUIRED,
) -> tuple[list[Value], str]:
    """Make the view `source`; returns what each of our columns is in it, and which rows count.

    With `is_tried` an expression that fails on a row is null there. Raises SchemaError where theirs
    is not there, or an expression cannot be understood.
    """
    mapping = mapped_columns(portfolio, delivery.names, required=required)
    layers = Layers(delivery, portfolio.source.csv.nulls, is_tried=is_tried)
    found = []
    for ours, said in mapping.items():
        if find_column(said, delivery):
            found.append(direct_value(ours, said, delivery, portfolio))
        else:
            found.append(layers.add(ours, said))
    found += set_values(set_columns(found, delivery, portfolio), delivery, portfolio)
    check_leaks(found, portfolio)
    is_payment = "true"
    if portfolio.source.where:
        is_payment = _is_payment(layers.add("where", portfolio.source.where), is_tried=is_tried)
    delivery.connection.execute(f"CREATE OR REPLACE VIEW source AS SELECT * FROM {layers.top}")
    return found, is_payment


def _is_payment(where: Value, *, is_tried: bool) -> str:
    """SQL for which rows count; one of which that cannot be computed does, as a fault."""
    if not is_tried:
        return f"coalesce({where.sql}::BOOLEAN, false)"
    tried = f"TRY_CAST({where.sql} AS BOOLEAN)"
    is_odd = f"({where.sql} IS NOT NULL AND {tried} IS NULL)"
    return f"({quoted(failed_name('where'))} OR {is_odd} OR coalesce({tried}, false))"


class Layers:
    """Views one above the other, each with one expression more, over columns of its own types."""

    def __init__(self, delivery: Delivery, nulls: Sequence[str], *, is_tried: bool) -> None:
        self.top = "raw"
        self._delivery, self._nulls, self._is_tried = delivery, nulls, is_tried

    def add(self, ours: str, said: str) -> Value:
        """Compute one more column; where numbers do not fit into the expression, of texts."""
        said_as, used = _names_in(ours, said, self._delivery)
        refusals: list[duckdb.Error] = []
        for sight in (self._numbers, self._texts, self._empty_as_numbers):
            seen = {name: sight(name) for name in dict.fromkeys(used)}
            try:
                return self._layer(ours, said, said_as, seen)
            except (duckdb.BinderException, duckdb.CatalogException) as error:
                refusals.append(error)
        raise self._refused(ours, said, refusals[0])

    def _layer(self, ours: str, said: str, said_as: str, seen: dict[str, str]) -> Value:
        view, column = f"layer_{ours}", f"strata:computed {ours}"
        exposed = "".join(f", {sql} AS {quoted(name)}" for name, sql in seen.items())
        names = ", ".join(quoted(name) for name in seen)
        kept = f"* EXCLUDE ({names})" if names else "*"
        computed = f"({said_as}\n) AS {quoted(column)}"
        if self._is_tried:  # null where it fails, and whether that is why
            computed = (
                f"TRY(({said_as}\n)) AS {quoted(column)}, "
                f"(TRY(({said_as}\n) IS NULL) IS NULL) AS {quoted(failed_name(ours))}, "
                f"{self._sight(seen)} AS {quoted(sight_name(ours))}"
            )
        self._delivery.connection.execute(
            f"CREATE OR REPLACE VIEW {view} AS SELECT {kept}, {computed} "
            f"FROM (SELECT *{exposed} FROM {self.top})"
        )
        kind = str(self._delivery.connection.sql(f"SELECT {quoted(column)} FROM {view}").types[0])
        check_type(said, kind)
        self.top = view
        return Value(
            ours=ours,
            said=said,
            sql=quoted(column),
            kind=kind,
            theirs=tuple(seen),
            is_expression=True,
        )

    def _sight(self, names: Iterable[str]) -> str:
        """SQL for their columns that an expression looks at, with the values of the row."""
        values = {name: quoted(numbered(self._delivery.names.index(name))) for name in names}
        told = [
            f"{literal(name)} || ' = ' || coalesce({_shown(value)}, 'nothing')"
            for name, value in values.items()
        ]
        return f"concat_ws(', ', {', '.join(told)})" if told else "''"

    def _numbers(self, name: str) -> str:
        at = self._delivery.names.index(name)
        return as_seen(quoted(numbered(at)), self._delivery.types[at], self._delivery, self._nulls)

    def _texts(self, name: str) -> str:
        number = self._numbers(name)
        at = self._delivery.names.index(name)
        is_whole = number.endswith("AS BIGINT)") or self._delivery.types[at] not in ("VARCHAR",)
        if is_whole:
            return f"CAST({number} AS VARCHAR)"
        return present_text(quoted(numbered(at)), self._nulls)

    def _empty_as_numbers(self, name: str) -> str:
        """A column without any value takes whatever type is asked of it."""
        number = self._numbers(name)
        (count,) = ask(self._delivery, f"count({present_text(number + '::VARCHAR')})")
        return number if count else "NULL::DOUBLE"

    def _refused(self, ours: str, said: str, error: duckdb.Error) -> SchemaError:
        reason = " ".join(str(error).split("LINE")[0].split())
        failed = f"{ours} = {said!r} in the portfolio cannot be computed ({reason})"
        has = listed(self._delivery.names)
        return SchemaError(f"{failed}; mend it; {self._delivery.name} has {has}")


def failed_name(ours: str) -> str:
    """The column that says whether an expression failed, where it is tried."""
    return f"strata:failed {ours}"


def sight_name(ours: str) -> str:
    """The column that says what a tried expression looked at."""
    return f"strata:sight {ours}"


def _shown(value: str) -> str:
    """SQL for a value in a sentence: not too long, of a card-like number the last digits alone."""
    line = f"replace(replace(CAST({value} AS VARCHAR), chr(13), '\\r'), chr(10), '\\n')"
    short = f"regexp_replace({line}, '\\b[0-9]{{9,15}}([0-9]{{4}})\\b', '...\\1', 'g')"
    return f"'''' || left({short}, 40) || ''''"


def _names_in(ours: str, said: str, delivery: Delivery) -> tuple[str, tuple[str, ...]]:
    """An expression and their columns that it looks at.

    A column whose name is a word of SQL, such as `at`, need not be quoted. Raises SchemaError for
    what is no expression.
    """
    tree = _parsed(said, delivery)
    if tree.get("error"):
        quoted_said = WORDS.sub(lambda found: _quoted_word(found[0], delivery), said)
        retried = _parsed(quoted_said, delivery)
        said, tree = (said, tree) if retried.get("error") else (quoted_said, retried)
    statements = tree.get("statements", [])
    is_one = len(statements) == 1 and len(statements[0]["node"].get("select_list", [])) == 1
    if tree.get("error") or not is_one or statements[0]["node"]["from_table"]["type"] != "EMPTY":
        raise _no_column(ours, said, delivery, str(tree.get("error_message", "several values")))
    nodes = list(_nodes(statements[0]["node"]["select_list"][0]))
    for node in nodes:
        if node.get("class") in REFUSED:
            kind = str(node["class"]).lower()
            refused = f"{ours} = {said!r} in the portfolio has a {kind}"
            raise SchemaError(f"{refused}; write an expression over the columns of one row")
    references = [node["column_names"] for node in nodes if node.get("class") == "COLUMN_REF"]
    return said, tuple(_referred(ours, said, names, delivery) for names in references)


WORDS = re.compile(r"""'(?:[^']|'')*'|"[^"]*"|\b[A-Za-z_]\w*""")


def _parsed(said: str, delivery: Delivery) -> dict[str, Any]:
    query = f"SELECT ({said}\n)"
    (found,) = first_row(delivery.connection, "SELECT json_serialize_sql(?)", [query])
    tree: dict[str, Any] = json.loads(found)
    return tree


def _quoted_word(word: str, delivery: Delivery) -> str:
    return quoted(word) if word in delivery.names else word


def _nodes(tree: object) -> Iterator[dict[str, object]]:
    """Every node of a parsed expression."""
    if isinstance(tree, dict):
        yield tree
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    for part in parts:
        yield from _nodes(part)


def _referred(ours: str, said: str, names: object, delivery: Delivery) -> str:
    first = str(names[0]) if isinstance(names, list) else str(names)
    column = find_column(first, delivery)
    if column is None:
        raise _no_column(ours, said, delivery, "" if said.strip() == first else f"no {first!r}")
    return column


def _no_column(ours: str, said: str, delivery: Delivery, why: str) -> SchemaError:
    close = get_close_matches(said, delivery.names, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"mend {ours} in [columns]"
    is_name = not why or said.replace(" ", "").replace("_", "").isalnum()
    what = "which the source lacks" if is_name else f"which cannot be understood ({why})"
    has = listed(delivery.names)
    return SchemaError(f"{ours} is mapped to {said!r}, {what}; {delivery.name} has {has}; {hint}")
