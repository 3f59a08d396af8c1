"""A column of theirs as a value of ours: found by its name, as the number or the text it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from features.schema import SchemaError
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
BLANKS = " \t\r\n\u00a0\u202f"
FLOATS = ("FLOAT", "DOUBLE")
PLAIN_TYPES = {
    *("VARCHAR", "ENUM", "JSON", "UUID", "BOOLEAN", "FLOAT", "DOUBLE", "DECIMAL", "DATE", "TIME"),
    *("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER"),
    *("UBIGINT", "UHUGEINT", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", '"NULL"'),
    "TIMESTAMP WITH TIME ZONE",
}
SAMPLE_ROWS = 1_000


@dataclass(frozen=True, kw_only=True)
class Value:
    """What one of our columns is made of: SQL over the view `source`, and theirs it looks at.

    `codes` are those that its texts, in capitals, only name.
    """

    ours: str
    said: str
    sql: str
    kind: str  # DuckDB's
    theirs: tuple[str, ...]
    is_expression: bool
    codes: Mapping[str, str] = field(default_factory=dict)


def find_column(said: str, delivery: Delivery) -> str | None:
    """The column of theirs that a text names: exactly, or but for capitals where one does."""
    if said in delivery.names:
        return said
    alike = [name for name in delivery.names if name.lower() == said.lower()]
    return alike[0] if len(alike) == 1 else None


def listed(names: Sequence[str]) -> str:
    """The names in a sentence, the first thirty of them."""
    more = len(names) - 30
    return ", ".join(names[:30]) + (f" and {more} more" if more > 0 else "")


def as_seen(column: str, kind: str, delivery: Delivery, nulls: Sequence[str]) -> str:
    """A column as an expression sees it."""
    if kind in FLOATS:
        finite = f"CASE WHEN isfinite({column}) THEN {column} END"
        is_whole = f"bool_and({finite} = trunc({finite}) AND abs({finite}) < 1e18)"
        return f"CAST({finite} AS BIGINT)" if ask(delivery, is_whole)[0] else finite
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
    if _fit(delivery, present, (WHOLE,))[0] and ask(delivery, f"bool_or({is_float})")[0]:
        return f"CAST(CAST({present} AS DOUBLE) AS BIGINT)", "BIGINT"
    return column, kind


def present_text(column: str, nulls: Sequence[str] = ()) -> str:
    """A text without the blanks around it; null where there is none, or a word for null."""
    known = ("", *NULL_WORDS, *nulls)
    words = ", ".join(literal(word) for word in known)
    longest = max(len(word.encode()) for word in known)
    trimmed = f"trim({column}, {literal(BLANKS)})"
    # most values are ASCII without blanks around them and longer than any word: they cost one look
    is_tidy = (
        f"{column} >= '!' AND strlen({column}) = length({column}) AND reverse({column}) >= '!'"
    )
    return (
        f"CASE WHEN {is_tidy} "
        f"THEN CASE WHEN strlen({column}) > {longest} OR {column} NOT IN ({words}) "
        f"THEN {column} END WHEN {trimmed} NOT IN ({words}) THEN {trimmed} END"
    )


def ask(delivery: Delivery, what: str) -> tuple[bool | None, ...]:
    """What an aggregate, or several, say of all records."""
    return first_row(delivery.connection, f"SELECT {what} FROM raw")


def _fit(delivery: Delivery, present: str, forms: Sequence[str]) -> tuple[bool | None, ...]:
    """Whether all values of a column are of each form; the first rows rule most forms out."""
    asked = [f"bool_and(regexp_full_match({present}, {literal(form)}))" for form in forms]
    query = f"SELECT {', '.join(asked)} FROM "
    sampled = first_row(delivery.connection, f"{query}(SELECT * FROM raw LIMIT {SAMPLE_ROWS})")
    if not any(one is not False for one in sampled):
        return sampled
    return first_row(delivery.connection, f"{query}raw")


def direct_value(ours: str, said: str, delivery: Delivery, portfolio: Portfolio) -> Value:
    """The value that a column of theirs is as it stands; an id that became a float is whole."""
    theirs = find_column(said, delivery) or said
    at = delivery.names.index(theirs)
    column, kind = quoted(numbered(at)), delivery.types[at]
    check_type(theirs, kind)
    if portfolio.kind(ours) == "text":
        column, kind = _as_text(column, kind, delivery, portfolio.source.csv.nulls)
    return Value(ours=ours, said=said, sql=column, kind=kind, theirs=(theirs,), is_expression=False)


def check_type(name: str, kind: str) -> None:
    """Refuse a column of a type that has no text, such as a list, with a SchemaError."""
    if kind.split("(", maxsplit=1)[0] not in PLAIN_TYPES or kind.endswith("]"):
        raise SchemaError(
            f"{name!r} is of type {kind} in the source; "
            "give it as text, a number, a time or true and false, or write SQL over it"
        )
