"""A delivery's rows in our columns and types, checked, in the table `checked`.

Beside our columns each row has its place in the delivery, the digest of what it says, its faults
(of required columns, which send it to quarantine) and its losses (optional values now missing).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

import duckdb

from features.schema import Kind
from pipeline.checks.coercion import (
    FORMS,
    NumberFormat,
    as_flag,
    as_identifier,
    as_major_units,
    as_number,
    as_text,
    as_time,
    find_number_format,
    with_codes,
)
from pipeline.checks.doubts import find_doubts
from pipeline.checks.expressions import failed_name, sight_name, values
from pipeline.checks.theirs import Value
from pipeline.checks.validation import (
    EARLY,
    MISSING,
    UNCOMPUTED,
    WRONG_TYPE,
    Entry,
    broken_rules,
    entry,
    is_required,
    joined,
    rules_of,
    shown,
    shown_text,
)
from pipeline.portfolio import Portfolio
from pipeline.portfolio_tables import EPOCH_UNITS
from pipeline.sources.delivery import (
    PLACE,
    Delivery,
    check_count,
    count_of,
    digest_sql,
    literal,
    numbered,
    quoted,
)

LABEL_NAMES = ("is_fraud", "label_known_at")
NEVER_IN_FUTURE = ("event_time", "known_at", "label_known_at")
NEVER_BEFORE_EVENT = ("known_at", "label_known_at")
COMPUTING = (duckdb.ConversionException, duckdb.InvalidInputException, duckdb.OutOfRangeException)


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What the table `checked` has: our columns in order with their kinds, and how many rows.

    `forms` are how numbers are written, by what is mapped; `shape` is what a later delivery is
    compared with.
    """

    kinds: dict[str, Kind]
    rows: int
    left_out: int
    doubts: tuple[str, ...] = ()
    forms: dict[str, NumberFormat] = field(default_factory=dict)
    shape: str = ""

    @property
    def facts(self) -> list[str]:
        """Columns of the transaction itself."""
        return [name for name in self.kinds if name not in LABEL_NAMES]


def check(delivery: Delivery, portfolio: Portfolio, *, now: datetime) -> Checked:
    """Make the table `checked` of a delivery.

    Raises SchemaError where a column is absent or an expression cannot be understood.
    """
    connection = delivery.connection
    connection.execute(f"SET VARIABLE now = {literal(now.isoformat())}::TIMESTAMPTZ")
    try:
        given, kinds, forms, is_payment = _stage(delivery, portfolio, now)
    except COMPUTING:  # an expression failed on some row: which one is found out row by row
        # what two expressions share would be computed before, where no TRY holds it
        connection.execute("SET disabled_optimizers = 'in_clause,common_subexpressions'")
        given, kinds, forms, is_payment = _stage(delivery, portfolio, now, is_tried=True)
    count = count_of(connection, "SELECT count(*) FROM checked")
    left_out = 0
    if is_payment != "true":
        left_out = count_of(connection, f"SELECT count(*) FROM source WHERE NOT {is_payment}")
    check_count(
        delivery.name, delivery.records - delivery.left_out, count + left_out, delivery.torn
    )
    doubts = tuple(find_doubts(delivery, portfolio, kinds, forms))
    said = {value.said: forms[value.ours] for value in given if value.ours in forms}
    return Checked(kinds=kinds, rows=count, left_out=left_out, doubts=doubts, forms=said)


def _stage(
    delivery: Delivery, portfolio: Portfolio, now: datetime, *, is_tried: bool = False
) -> tuple[list[Value], dict[str, Kind], dict[str, NumberFormat], str]:
    """Make `checked`; returns the values, their kinds, how numbers are written, which rows count.

    Raises duckdb.Error of COMPUTING where an expression fails on a row and is not tried.
    """
    found, is_payment = values(delivery, portfolio, is_tried=is_tried)
    given = [with_codes(value, delivery, portfolio) for value in found]
    kinds: dict[str, Kind] = {"transaction_id": "text"}
    kinds |= {value.ours: portfolio.kind(value.ours) for value in given}
    numbers = [value for value in given if kinds[value.ours] == "number"]
    forms = {value.ours: find_number_format(value, delivery, portfolio) for value in numbers}
    delivery.connection.execute(
        _statement(given, kinds, is_payment, delivery, portfolio, forms, now, is_tried=is_tried)
    )
    return given, kinds, forms, is_payment


def _statement(
    given: list[Value],
    kinds: dict[str, Kind],
    is_payment: str,
    delivery: Delivery,
    portfolio: Portfolio,
    forms: dict[str, NumberFormat],
    now: datetime,
    *,
    is_tried: bool = False,
) -> str:
    """The one statement that makes `checked`: values as given, in our types, within the rules."""
    has_id = any(value.ours == "transaction_id" for value in given)
    own_id = (
        [] if has_id else [f"{_identity(given, delivery, portfolio)} AS {_given('transaction_id')}"]
    )
    firsts = [*own_id, *(part for value in given for part in _first(value, is_tried))]
    where = portfolio.source.where if is_tried else ""
    firsts += [*tried("where")] if where else []
    quick = [part for value in given for part in _quick(value, kinds, portfolio, forms)]
    texts_of = [_text(value, kinds, portfolio) for value in given]
    typed = [_typed(value, kinds, portfolio, forms.get(value.ours)) for value in given]
    numbered_id = f"{_given('transaction_id')} || CASE WHEN copy > 1 THEN '-' || copy ELSE '' END"
    if not has_id:
        typed += [f"{numbered_id} AS {_typed_name('transaction_id')}"]
    copy = f", row_number() OVER (PARTITION BY {_given('transaction_id')} ORDER BY place) AS copy"
    judged = [
        f"{condition} AS {_broken_name(name, at)}"
        for name, kind in kinds.items()
        for at, (_, condition) in enumerate(_rules(name, kind, kinds, portfolio))
    ]
    fits = {name: _fit(name, kind, kinds, portfolio) for name, kind in kinds.items()}
    columns = [f"{sql} AS {quoted(name)}" for name, sql in fits.items()]
    faults, losses = _entries(given, kinds, portfolio, now, is_tried=is_tried)
    said = ", ".join(quoted(name) for name in sorted(kinds) if name not in LABEL_NAMES)
    return (
        f"CREATE OR REPLACE TABLE checked AS WITH given AS NOT MATERIALIZED ("
        f"SELECT {quoted(PLACE)} AS place, {', '.join(firsts)} FROM source WHERE {is_payment}"
        f"), copies AS NOT MATERIALIZED (SELECT *{'' if has_id else copy} FROM given"
        f"), quick AS NOT MATERIALIZED (SELECT {', '.join(['*', *quick])} FROM copies"
        f"), texts AS NOT MATERIALIZED (SELECT *, {', '.join(texts_of)} FROM quick"
        f"), typed AS NOT MATERIALIZED (SELECT *, {', '.join(typed)} FROM texts"
        f"), judged AS NOT MATERIALIZED (SELECT {', '.join(['*', *judged])} FROM typed"
        f"), fit AS NOT MATERIALIZED (SELECT place, {', '.join(columns)}, "
        f"{faults} AS faults, {losses} AS losses FROM judged"
        f") SELECT *, (hash({said}) >> 1)::BIGINT AS row_digest FROM fit"
    )


def _given(name: str) -> str:
    return quoted(f"given:{name}")


def _text_name(name: str) -> str:
    return quoted(f"text:{name}")


def _typed_name(name: str) -> str:
    return quoted(f"typed:{name}")


def _quick_name(name: str) -> str:
    return quoted(f"quick:{name}")


def _broken_name(name: str, rule: int) -> str:
    return quoted(f"broken:{name}:{rule}")


def _first(value: Value, is_tried: bool) -> Iterator[str]:
    """The value as the source has it, or as the expression computes it."""
    yield f"{value.sql} AS {_given(value.ours)}"
    if is_tried and value.is_expression:
        yield from tried(value.ours)


def tried(name: str) -> Iterator[str]:
    """Whether an expression failed on the row, and what it looked at."""
    yield f"{quoted(failed_name(name))} AS {quoted(f'failed:{name}')}"
    yield f"{quoted(sight_name(name))} AS {quoted(f'sight:{name}')}"


def uncomputed(name: str, said: str) -> Entry:
    """The fault of an expression that fails on a row: what it is, of which values, where."""
    place = "' in row ' || (place + 1)"
    told = f"{shown_text(literal(said))} || ' of ' || {quoted(f'sight:{name}')} || {place}"
    return entry(name, UNCOMPUTED, told, quoted(f"failed:{name}"))


def _identity(given: list[Value], delivery: Delivery, portfolio: Portfolio) -> str:
    """SQL for the id of a row that has none: the digest of what the columns of identity say."""
    mapped = [value.theirs for value in given if value.ours not in LABEL_NAMES]
    names = portfolio.source.identity or sorted({name for theirs in mapped for name in theirs})
    texts = {}
    for name in names:
        at = delivery.names.index(name)
        texts[name] = as_text(quoted(numbered(at)), delivery.types[at])
    return f"md5({digest_sql(texts)}::VARCHAR || {digest_sql(texts, half='upper')}::VARCHAR)"


def _is_quick(value: Value, kinds: dict[str, Kind], portfolio: Portfolio) -> bool:
    """Whether a value is first converted as it stands, and looked at as text only if that fails."""
    is_text = value.kind != "VARCHAR" or kinds[value.ours] == "text"
    return not (is_text or value.ours == "label_known_at" or portfolio.source.csv.nulls)


def _quick(
    value: Value, kinds: dict[str, Kind], portfolio: Portfolio, forms: dict[str, NumberFormat]
) -> Iterator[str]:
    if _is_quick(value, kinds, portfolio):
        sql = _converted(value, _given(value.ours), kinds, portfolio, forms.get(value.ours))
        yield f"{sql} AS {_quick_name(value.ours)}"


def _text(value: Value, kinds: dict[str, Kind], portfolio: Portfolio) -> str:
    """The value as text: what is said of it, and what is converted where it is text."""
    is_name = value.ours.endswith("_id") or value.ours in portfolio.key_columns
    text = as_identifier if is_name else as_text
    said = text(_given(value.ours), value.kind, portfolio.source.csv.nulls)
    if _is_quick(value, kinds, portfolio):
        said = f"CASE WHEN {_quick_name(value.ours)} IS NULL THEN {said} END"
    return f"{said} AS {_text_name(value.ours)}"


def _typed(
    value: Value, kinds: dict[str, Kind], portfolio: Portfolio, form: NumberFormat | None
) -> str:
    """The value in our type."""
    given = _text_name(value.ours) if value.kind == "VARCHAR" else _given(value.ours)
    sql = _converted(value, given, kinds, portfolio, form)
    if _is_quick(value, kinds, portfolio):
        sql = f"coalesce({_quick_name(value.ours)}, {sql})"
    return f"{sql} AS {_typed_name(value.ours)}"


def _converted(
    value: Value,
    given: str,
    kinds: dict[str, Kind],
    portfolio: Portfolio,
    form: NumberFormat | None,
) -> str:
    """SQL that brings a given value into our type."""
    source, name, kind = portfolio.source, value.ours, kinds[value.ours]
    if kind == "text":
        text = _text_name(name)
        return FORMS[name](text, value.codes) if name in FORMS else text
    if kind == "number":
        return as_number(given, value.kind, form=form or NumberFormat())
    if kind == "time":
        sql = as_time(given, value.kind, time_format=source.time_format)
        is_report = name == "label_known_at" and _has_dates_alone(value, portfolio)
        return end_of_day(sql, given, value.kind) if is_report else sql
    return as_flag(given, value.kind, values=portfolio.labels.values)


def _has_dates_alone(value: Value, portfolio: Portfolio) -> bool:
    form = portfolio.source.time_format
    is_time = value.kind in ("DATE", "VARCHAR") or value.kind.startswith("TIMESTAMP")
    return is_time and form not in EPOCH_UNITS and "%H" not in form


def end_of_day(moment: str, given: str, kind: str) -> str:
    """A report's date without a time is known when that day is over, never before its payment.

    A midnight that no text spells out is a date.
    """
    is_date = f"date_trunc('day', {moment}) = {moment}"
    if kind == "VARCHAR":
        is_date += f" AND NOT contains({given}, ':')"
    last = f"{moment} + INTERVAL 1 DAY - INTERVAL 1 MICROSECOND"
    return f"CASE WHEN {is_date} THEN {last} ELSE {moment} END"


def _fit(name: str, kind: Kind, kinds: dict[str, Kind], portfolio: Portfolio) -> str:
    """The value that the lake gets: an optional one that breaks a rule is missing."""
    typed = _amount(kinds, portfolio) if name == "amount" else _typed_name(name)
    if is_required(name):
        return typed
    rules = enumerate(_rules(name, kind, kinds, portfolio))
    broken = " OR ".join(_broken_name(name, at) for at, _ in rules)
    if name in NEVER_IN_FUTURE:  # known by now at the latest
        now = "getvariable('now')"
        typed = f"CASE WHEN {typed} > {now} THEN {now} ELSE {typed} END"
    if name in NEVER_BEFORE_EVENT:
        early = f"{_typed_name(name)} < {_typed_name('event_time')}"
        return f"CASE WHEN NOT coalesce({early}, false) THEN {typed} END"
    return f"CASE WHEN NOT coalesce({broken}, false) THEN {typed} END" if broken else typed


def _amount(kinds: dict[str, Kind], portfolio: Portfolio) -> str:
    typed = _typed_name("amount")
    if portfolio.source.amount_unit == "major":
        return typed
    return as_major_units(typed, _typed_name("currency") if "currency" in kinds else "NULL")


def _rules(
    name: str, kind: Kind, kinds: dict[str, Kind], portfolio: Portfolio
) -> Iterator[tuple[str, str]]:
    """What each rule says that a value of the column may break, and SQL for when it does."""
    typed = _amount(kinds, portfolio) if name == "amount" else _typed_name(name)
    column = rules_of(name)
    if column is not None:
        yield from broken_rules(column, typed)


def _entries(
    given: list[Value],
    kinds: dict[str, Kind],
    portfolio: Portfolio,
    now: datetime,
    *,
    is_tried: bool,
) -> tuple[str, str]:
    """SQL of the faults and of the losses of a row."""
    where = portfolio.source.where
    faults = [uncomputed("where", where)] if is_tried and where else []
    losses: list[Entry] = []
    for value in given:
        entries = faults if is_required(value.ours) else losses
        entries += _value_entries(value, kinds, portfolio, is_tried=is_tried)
        if value.ours in NEVER_IN_FUTURE:
            rule = f"in the future (now is {_iso(now)})"
            typed = _typed_name(value.ours)
            is_ahead = f"{typed} > getvariable('now')"
            if value.ours == "label_known_at" and _has_dates_alone(value, portfolio):
                is_ahead = f"{typed} > getvariable('now') + INTERVAL 1 DAY"
            entries.append(entry(value.ours, rule, shown(typed, "time"), is_ahead))
        if value.ours in NEVER_BEFORE_EVENT:
            entries.append(_early_entry(value.ours))
    return joined(faults), joined(losses)


def _value_entries(
    value: Value, kinds: dict[str, Kind], portfolio: Portfolio, *, is_tried: bool
) -> Iterator[Entry]:
    """What may be wrong with one value for itself."""
    name, kind = value.ours, kinds[value.ours]
    text, typed = _text_name(name), _typed_name(name)
    is_lost = f"{typed} IS NULL AND {text} IS NOT NULL"
    is_absent = f"{typed} IS NULL AND {text} IS NULL"
    if name == "is_fraud" and portfolio.labels.values.unlabelled:
        words = ", ".join(literal(word.lower()) for word in portfolio.labels.values.unlabelled)
        is_lost += f" AND lower({text}) NOT IN ({words})"
    yield entry(name, WRONG_TYPE[kind], shown_text(text), is_lost)
    is_failed = "false"
    if is_tried and value.is_expression:
        is_failed = quoted(f"failed:{name}")
        yield uncomputed(name, value.said)
    if is_required(name):
        yield entry(name, MISSING, "''", f"{is_absent} AND NOT ({is_failed})")
    fit = _amount(kinds, portfolio) if name == "amount" else typed
    for at, (rule, _) in enumerate(_rules(name, kind, kinds, portfolio)):
        told = shown(text if kind == "text" else fit, kind)
        yield entry(name, rule, told, _broken_name(name, at))


def _early_entry(name: str) -> Entry:
    typed, event = _typed_name(name), _typed_name("event_time")
    told = f"{shown(typed, 'time')} || ', before event_time ' || {shown(event, 'time')}"
    return entry(name, EARLY, told, f"{typed} < {event}")


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
