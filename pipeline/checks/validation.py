"""What a value must satisfy: a required one costs its row, an optional one is missing.

Each row's faults (of required columns) and losses (of optional ones) stand in a text: column, rule
and value of each, so that they can be told, counted and grouped.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import duckdb

from features.schema import BY_NAME, REQUIRED, Column, Kind
from pipeline.sources.delivery import literal, quoted

FIELD, ENTRY = 31, 30  # ASCII's own signs between fields and between records
WRONG_TYPE: dict[Kind, str] = {
    "text": "no text",
    "number": "no finite number",
    "time": "no ISO 8601 time",
    "flag": "neither true nor false",
}
MISSING, UNCOMPUTED = "missing", "not to be computed"
TORN = "the line has too few or too many fields"
DUPLICATE = "a duplicate of a row that says something else"
OF_ROWS = {  # what is wrong with a row as a whole, and what to do about it
    TORN: "mend the line in the source, or say in [source.csv] how it is written",
    DUPLICATE: "take as transaction_id what only one row has, or drop the rows",
}
EARLY = "before event_time"  # the value that breaks it says the rest
MIN_STOPPED = 20  # rows that one reason hits before a file is stopped
MIN_FRAUDS = 5  # known frauds that one reason hits
MAX_FRAUD_TIMES = 5  # how many times more often it may hit them than the other rows


@dataclass(frozen=True, kw_only=True)
class Reason:
    """One rule that values of a column break, how often, and the least value that does."""

    column: str
    rule: str
    count: int
    example: str
    frauds: int = 0

    @property
    def sentence(self) -> str:
        """The reason as a quarantined row has it."""
        if self.rule == TORN:
            return TORN
        if self.rule == MISSING:
            return f"{self.column} is missing"
        rule = "" if self.rule == EARLY else f", {self.rule}"
        return f"{self.column} is {self.example}{rule}"

    @property
    def remedy(self) -> str:
        """What to write in the portfolio where the data are right and the portfolio is not."""
        column, rule = self.column, self.rule
        if rule == MISSING:
            return f'say where else it stands ({column} = "coalesce(one, other)") or leave it out'
        if rule.startswith("in the future"):
            return "say time_zone in [source] where its times are local"
        if column == "event_time":
            return (
                "say time_format in [source], such as '%d.%m.%Y %H:%M' or 'milliseconds', or "
                'write event_time = "make_timestamp(year, month, day, 0, 0, 0)"'
            )
        if rule == WRONG_TYPE["number"]:
            return (
                "say decimal and thousands in [source] csv, or write SQL such as "
                "amount = \"replace(their_amount, '$', '')\""
            )
        if rule == "below 0":
            return 'write amount = "abs(their_amount)", or leave out what is no payment by where'
        table = "[source]" if column == "where" else "[columns]"
        return OF_ROWS.get(rule, f"mend {column} in {table}")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A fault or a loss: SQL for whether a row has it, and for its text."""

    broken: str
    text: str


def entry(column: str, rule: str, shown: str, broken: str) -> Entry:
    """A fault or loss where `broken` holds; `shown` is SQL for the value."""
    head = f"{literal(column)} || chr({FIELD}) || {literal(rule)} || chr({FIELD})"
    return Entry(broken=broken, text=f"{head} || {shown}")


def joined(entries: Sequence[Entry]) -> str:
    """SQL of a row's faults or losses, null where there is none: nearly all rows have none."""
    if not entries:
        return "NULL::VARCHAR"
    is_any = " OR ".join(f"({one.broken})" for one in entries)
    texts = [f"CASE WHEN {one.broken} THEN {one.text} END" for one in entries]
    return (
        f"CASE WHEN {is_any} THEN concat_ws(chr({ENTRY}), {', '.join([literal(''), *texts])}) END"
    )


def shown_text(text: str) -> str:
    """SQL for how a text is shown in a sentence: quoted, on one line, not too long."""
    line = f"replace(replace({text}, chr(13), '\\r'), chr(10), '\\n')"
    return f"'''' || left({line}, 80) || ''''"


def shown(value: str, kind: Kind) -> str:
    """SQL for how a value is shown in a sentence."""
    if kind == "text":
        return shown_text(value)
    if kind == "time":
        utc = f"({value} AT TIME ZONE 'UTC')"
        seconds = f"strftime({utc}, '%Y-%m-%dT%H:%M:%S')"
        fraction = (
            f"CASE WHEN epoch_us({value}) % 1000000 = 0 THEN '' ELSE strftime({utc}, '.%f') END"
        )
        return f"{seconds} || {fraction} || 'Z'"
    return f"CAST({value} AS VARCHAR)"


def broken_rules(column: Column, value: str) -> Iterator[tuple[str, str]]:
    """The rules of a column alone: what each says, and SQL for when a value breaks it."""
    if column.least is not None:
        yield f"below {column.least:g}", f"{value} < {column.least}"
    if column.most is not None:
        yield f"above {column.most:g}", f"{value} > {column.most}"
    if column.pattern is not None:
        fits = f"regexp_full_match({value}, {literal(column.pattern)})"
        yield f"not of the form {column.pattern}", f"NOT {fits}"


def is_required(name: str) -> bool:
    """Whether a row without the value cannot be taken."""
    return name in REQUIRED


def rules_of(name: str) -> Column | None:
    """The column of Strata's with its rules; a portfolio's own has none."""
    return BY_NAME.get(name)


def counted(
    connection: duckdb.DuckDBPyConnection,
    what: str,
    *,
    fraud: str = "false",
    table: str = "checked",
    where: str = "true",
) -> list[Reason]:
    """The faults or losses of the table `checked` or another, those that hit most rows first."""
    parts = ", ".join(f"split_part(one, chr({FIELD}), {at}) AS {name}" for at, name in NAMED)
    rows = connection.execute(
        f"SELECT name, rule, count(*) AS rows, min(value), "
        f"count(*) FILTER (is_fraud) AS frauds FROM (SELECT {parts}, is_fraud FROM ("
        f"SELECT unnest(string_split({quoted(what)}, chr({ENTRY}))) AS one, {fraud} AS is_fraud "
        f"FROM {quoted(table)} WHERE {where} AND {quoted(what)} IS NOT NULL) WHERE one <> '') "
        "GROUP BY name, rule ORDER BY rows DESC, name, rule"
    ).fetchall()
    return [
        Reason(column=name, rule=rule, count=count, example=example, frauds=frauds)
        for name, rule, count, example, frauds in rows
    ]


def stopping(
    reasons: Sequence[Reason], *, rows: int, frauds: int, max_share: float
) -> Reason | None:
    """The reason that stops a file: it hits too many rows, or known frauds unlike the rest."""
    for reason in reasons:
        hits_many = reason.count >= MIN_STOPPED and reason.count > max_share * rows
        others = (reason.count - reason.frauds) / max(1, rows - frauds)
        share = reason.frauds / max(1, frauds)
        hits_frauds = reason.frauds >= MIN_FRAUDS and share > max(
            max_share, MAX_FRAUD_TIMES * others
        )
        if hits_many or hits_frauds:
            return reason
    return None


NAMED = ((1, "name"), (2, "rule"), (3, "value"))


def sentence_sql(faults: str) -> str:
    """SQL for the sentence of a row's faults."""
    one = (
        f"CASE WHEN split_part(f, chr({FIELD}), 2) = '{TORN}' THEN '{TORN}' "
        f"WHEN split_part(f, chr({FIELD}), 2) = '{MISSING}' "
        f"THEN split_part(f, chr({FIELD}), 1) || ' is missing' "
        f"ELSE split_part(f, chr({FIELD}), 1) || ' is ' || split_part(f, chr({FIELD}), 3) "
        f"|| ', ' || split_part(f, chr({FIELD}), 2) END"
    )
    entries = f"list_filter(string_split({faults}, chr({ENTRY})), lambda f: f <> '')"
    return f"array_to_string(list_transform({entries}, lambda f: {one}), '; ')"
