"""[columns] as SQL: each of our columns is a column of theirs, or an expression over theirs.

An expression is one value of one row: no subquery, no window, no aggregate. In it a column is a
number where all its values are numbers that read the same when written again, and text elsewhere;
blanks and the words for null are null.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

import duckdb

from features.expressions import LABELS
from features.groups.column_sets import fits, stored_name
from features.schema import BY_NAME, REQUIRED, SchemaError
from pipeline.portfolio import Portfolio
from pipeline.sources.delivery import Delivery, first_row, literal, numbered, quoted

INTEGER = r"-?(0|[1-9][0-9]{0,17})"
# a whole number as a column of floats writes it, in a csv file that somebody else's table became
WHOLE = r"-?(0|[1-9][0-9]{0,17})(\.0+)?|[1-9](\.[0-9]+)?[eE]\+[0-9]{1,2}"
NUMBER = r"-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,14})?"
NULL_WORDS = (
    *("nan", "NaN", "NAN", "null", "NULL", "Null", "None", "none", "<NA>", "N/A", "n/a"),
    *("#N/A", "NaT", "\\N", "(null)"),
)
TIDY = "[!-~]([ -~]*[!-~])?"
BLANKS = " \t\r\n\u00a0\u202f"
FLOATS = ("FLOAT", "DOUBLE")
PLAIN_TYPES = {
    *("VARCHAR", "ENUM", "JSON", "UUID", "BOOLEAN", "FLOAT", "DOUBLE", "DECIMAL", "DATE", "TIME"),
    *("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER"),
    *("UBIGINT", "UHUGEINT", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", '"NULL"'),
    "TIMESTAMP WITH TIME ZONE",
}
SAMPLE_ROWS = 1_000
REFUSED = ("SUBQUERY", "WINDOW", "STAR", "PARAMETER", "LAMBDA_REF")


@dataclass(frozen=True, kw_only=True)
class Value:
    """What one of our columns is made of: SQL over the view `source`, and theirs it looks at."""

    ours: str
    said: str
    sql: str
    kind: str  # DuckDB's
    theirs: tuple[str, ...]
    is_expression: bool


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
        raise SchemaError(f"{lacks}; the source has {_listed(found)}; write {line} in [columns]")
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
        if _column(said, delivery):
            found.append(_direct(ours, said, delivery, portfolio))
        else:
            found.append(layers.add(ours, said))
    found += _set_values(set_columns(found, delivery, portfolio), delivery, portfolio)
    _check_leaks(found, portfolio)
    is_payment = "true"
    if portfolio.source.where:
        is_payment = _is_payment(layers.add("where", portfolio.source.where), is_tried=is_tried)
    delivery.connection.execute(f"CREATE OR REPLACE VIEW source AS SELECT * FROM {layers.top}")
    return found, is_payment


def set_columns(given: Sequence[Value], delivery: Delivery, portfolio: Portfolio) -> dict[str, str]:
    """Theirs that the portfolio's sets take, each with its set: what fits and is not mapped.

    Raises SchemaError where a set fits nothing, or a column would be taken twice.
    """
    taken: dict[str, str] = {}
    mapped = _mapped_otherwise(given, portfolio)
    for name, extra in portfolio.sets.items():
        said = f"[groups.extra.{name}] columns = {extra.columns!r}"
        fitting = [theirs for theirs in delivery.names if fits(extra.columns, theirs)]
        own = [theirs for theirs in fitting if theirs not in mapped]
        if not own:
            why = f"fits {_listed(fitting)}, which [columns] maps" if fitting else "fits no column"
            raise SchemaError(
                f"{said} {why}; {delivery.name} has {_listed(delivery.names)}; mend the pattern"
            )
        for theirs in own:
            if theirs in taken:
                other = f"[groups.extra.{taken[theirs]}]"
                raise SchemaError(f"{said} takes {theirs!r}, and so does {other}; take it once")
            taken[theirs] = name
    _check_alike(taken, portfolio)
    return taken


def _set_values(taken: Mapping[str, str], delivery: Delivery, portfolio: Portfolio) -> list[Value]:
    """The values of sets; texts that are all of them numbers are numbers from the start.

    Hundreds of columns that are looked through one by one as text cost minutes and gigabytes.
    """
    given = [_direct(stored_name(theirs), theirs, delivery, portfolio) for theirs in taken]
    nulls = portfolio.source.csv.nulls
    numbers = {  # a cast is null for all words for null that are no number
        value.ours: f"TRY_CAST({present_text(value.sql, nulls) if nulls else value.sql} AS DOUBLE)"
        for value in given
        if value.kind == "VARCHAR" and portfolio.kind(value.ours) == "number"
    }
    if not numbers or portfolio.source.csv.decimal == ",":
        return given
    present = {value.ours: present_text(value.sql, nulls) for value in given}
    asked = [
        f"bool_and({number} IS NOT NULL) FILTER ({present[name]} IS NOT NULL)"
        for name, number in numbers.items()
    ]
    are_numbers = zip(numbers, _ask(delivery, ", ".join(asked)), strict=True)
    clean = {name for name, is_number in are_numbers if is_number is not False}
    return [
        replace(value, sql=numbers[value.ours], kind="DOUBLE") if value.ours in clean else value
        for value in given
    ]


def _mapped_otherwise(given: Sequence[Value], portfolio: Portfolio) -> set[str]:
    """Theirs that [columns] looks at: the name of a key may be a number besides."""
    others = [value for value in given if value.ours not in portfolio.key_columns]
    return {name for value in others for name in value.theirs}


def _check_alike(taken: Mapping[str, str], portfolio: Portfolio) -> None:
    """Refuse two columns of sets that the lake would call by one name, or by another's."""
    names: dict[str, str] = dict.fromkeys([*portfolio.extra, *portfolio.key_columns], "")
    for theirs, one in taken.items():
        name = stored_name(theirs)
        if name in names:
            other = repr(names[name]) if names[name] else f"the portfolio's own {name}"
            raise SchemaError(
                f"[groups.extra.{one}] takes {theirs!r}, which would be called {name}, "
                f"like {other}; map it in [columns] under another name"
            )
        names[name] = theirs


def _check_leaks(given: Sequence[Value], portfolio: Portfolio) -> None:
    """Refuse a column of the portfolio's own that is made of what the label is made of."""
    label = {name for value in given if value.ours in LABELS for name in value.theirs}
    for value in given:
        if value.ours not in BY_NAME and (leaked := label.intersection(value.theirs)):
            raise SchemaError(
                f"{value.ours} = {value.said!r} of {portfolio.file} reads {', '.join(leaked)}, of "
                "which the label is made and which nobody knows yet when a payment is judged; "
                "take it out"
            )


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
        _check_type(said, kind)
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
        return _as_number(
            quoted(numbered(at)), self._delivery.types[at], self._delivery, self._nulls
        )

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
        (count,) = _ask(self._delivery, f"count({present_text(number + '::VARCHAR')})")
        return number if count else "NULL::DOUBLE"

    def _refused(self, ours: str, said: str, error: duckdb.Error) -> SchemaError:
        reason = " ".join(str(error).split("LINE")[0].split())
        failed = f"{ours} = {said!r} in the portfolio cannot be computed ({reason})"
        has = _listed(self._delivery.names)
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


def _column(said: str, delivery: Delivery) -> str | None:
    """The column of theirs that a text names: exactly, or but for capitals where one does."""
    if said in delivery.names:
        return said
    alike = [name for name in delivery.names if name.lower() == said.lower()]
    return alike[0] if len(alike) == 1 else None


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
    column = _column(first, delivery)
    if column is None:
        raise _no_column(ours, said, delivery, "" if said.strip() == first else f"no {first!r}")
    return column


def _no_column(ours: str, said: str, delivery: Delivery, why: str) -> SchemaError:
    close = get_close_matches(said, delivery.names, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"mend {ours} in [columns]"
    is_name = not why or said.replace(" ", "").replace("_", "").isalnum()
    what = "which the source lacks" if is_name else f"which cannot be understood ({why})"
    has = _listed(delivery.names)
    return SchemaError(f"{ours} is mapped to {said!r}, {what}; {delivery.name} has {has}; {hint}")


def _listed(names: Sequence[str]) -> str:
    more = len(names) - 30
    return ", ".join(names[:30]) + (f" and {more} more" if more > 0 else "")


def _as_number(column: str, kind: str, delivery: Delivery, nulls: Sequence[str]) -> str:
    """A column as an expression sees it."""
    if kind in FLOATS:
        finite = f"CASE WHEN isfinite({column}) THEN {column} END"
        is_whole = f"bool_and({finite} = trunc({finite}) AND abs({finite}) < 1e18)"
        return f"CAST({finite} AS BIGINT)" if _ask(delivery, is_whole)[0] else finite
    if kind != "VARCHAR":
        return column
    present = present_text(column, nulls)
    integer, whole, number = _fit(delivery, present, (INTEGER, WHOLE, NUMBER))
    if integer:
        return f"CAST({present} AS BIGINT)"
    if whole:
        return f"CAST(CAST({present} AS DOUBLE) AS BIGINT)"
    return f"CAST({present} AS DOUBLE)" if number else present


def _as_text(column: str, kind: str, delivery: Delivery, nulls: Sequence[str]) -> tuple[str, str]:
    """A column that is to be text, and its type: whole numbers in a column of floats are whole."""
    if kind != "VARCHAR":
        return column, kind
    present = present_text(column, nulls)
    is_float = f"contains({column}, '.0') OR contains(lower({column}), 'e+')"
    if _fit(delivery, present, (WHOLE,))[0] and _ask(delivery, f"bool_or({is_float})")[0]:
        return f"CAST(CAST({present} AS DOUBLE) AS BIGINT)", "BIGINT"
    return column, kind


def present_text(column: str, nulls: Sequence[str] = ()) -> str:
    """A text without the blanks around it; null where there is none, or a word for null."""
    known = ("", *NULL_WORDS, *nulls)
    words = ", ".join(literal(word) for word in known)
    longest = max(len(word.encode()) for word in known)
    trimmed = f"trim({column}, {literal(BLANKS)})"
    # most values have no blank around them and are longer than any word: they cost one look
    return (
        f"CASE WHEN NOT regexp_full_match({column}, {literal(TIDY)}) "
        f"THEN CASE WHEN {trimmed} NOT IN ({words}) THEN {trimmed} END "
        f"WHEN strlen({column}) > {longest} OR {column} NOT IN ({words}) THEN {column} END"
    )


def _ask(delivery: Delivery, what: str) -> tuple[bool | None, ...]:
    return first_row(delivery.connection, f"SELECT {what} FROM raw")


def _fit(delivery: Delivery, present: str, forms: Sequence[str]) -> tuple[bool | None, ...]:
    """Whether all values of a column are of each form; the first rows rule most forms out."""
    asked = [f"bool_and(regexp_full_match({present}, {literal(form)}))" for form in forms]
    query = f"SELECT {', '.join(asked)} FROM "
    sampled = first_row(delivery.connection, f"{query}(SELECT * FROM raw LIMIT {SAMPLE_ROWS})")
    if not any(one is not False for one in sampled):
        return sampled
    return first_row(delivery.connection, f"{query}raw")


def _direct(ours: str, said: str, delivery: Delivery, portfolio: Portfolio) -> Value:
    theirs = _column(said, delivery) or said
    at = delivery.names.index(theirs)
    column, kind = quoted(numbered(at)), delivery.types[at]
    _check_type(theirs, kind)
    if portfolio.kind(ours) == "text":
        column, kind = _as_text(column, kind, delivery, portfolio.source.csv.nulls)
    return Value(ours=ours, said=said, sql=column, kind=kind, theirs=(theirs,), is_expression=False)


def _check_type(name: str, kind: str) -> None:
    """Refuse a column of a type that has no text, such as a list, with a SchemaError."""
    if kind.split("(", maxsplit=1)[0] not in PLAIN_TYPES or kind.endswith("]"):
        raise SchemaError(
            f"{name!r} is of type {kind} in the source; "
            "give it as text, a number, a time or true and false, or write SQL over it"
        )
