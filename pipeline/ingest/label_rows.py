"""Rows of label files in our columns and types, their payments, and what is new of what they say.

They stand in the table `checked`, their payments in `matched`, and what keeps one out in `states`.
"""

from collections.abc import Collection
from datetime import datetime

import duckdb
import pyarrow as pa
import pyarrow.dataset

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
)
from pipeline.checks.expressions import values
from pipeline.checks.staging import COMPUTING, end_of_day, tried, uncomputed
from pipeline.checks.theirs import Value
from pipeline.checks.validation import (
    MISSING,
    WRONG_TYPE,
    Entry,
    entry,
    joined,
    shown,
    shown_text,
)
from pipeline.ingest.labels import matured
from pipeline.ingest.quarantine import RawRow
from pipeline.portfolio import Portfolio
from pipeline.portfolio_tables import EPOCH_UNITS
from pipeline.sources.delivery import (
    PLACE,
    Delivery,
    check_count,
    count_of,
    first_row,
    literal,
    quoted,
)

WAITING, SEVERAL, FAILED, TORN = "no payment", "several payments", "unreadable", "torn"
PER_UNIT = 10_000  # amounts are the same where they are to a ten-thousandth
AHEAD = "in the future"


def read_labels(delivery: Delivery, portfolio: Portfolio, *, now: datetime) -> int:
    """Make the table `checked` of a file of labels; returns how many rows it has.

    Raises SchemaError where a column is absent or an expression cannot be understood.
    """
    connection = delivery.connection
    connection.execute(f"SET VARIABLE now = {literal(now.isoformat())}::TIMESTAMPTZ")
    try:
        given, _ = values(delivery, portfolio, required=())
        connection.execute(_statement(given, delivery, portfolio, is_tried=False))
    except COMPUTING:  # an expression failed on some row: which one is found out row by row
        connection.execute("SET disabled_optimizers = 'in_clause,common_subexpressions'")
        given, _ = values(delivery, portfolio, is_tried=True, required=())
        connection.execute(_statement(given, delivery, portfolio, is_tried=True))
    rows = count_of(connection, "SELECT count(*) FROM checked")
    check_count(delivery.name, delivery.records, rows, delivery.torn)
    return rows


def _statement(
    given: list[Value], delivery: Delivery, portfolio: Portfolio, *, is_tried: bool
) -> str:
    kinds = {value.ours: portfolio.kind(value.ours) for value in given}
    firsts, texts, typed, fits = list[str](), list[str](), list[str](), list[str]()
    faults, losses = list[Entry](), list[Entry]()
    for value in given:
        name, kind = value.ours, kinds[value.ours]
        is_computed = is_tried and value.is_expression
        firsts.append(f"{value.sql} AS {_named('given', name)}")
        firsts += tried(name) if is_computed else []
        as_said = as_identifier if name.endswith("_id") else as_text
        said = as_said(_named("given", name), value.kind, portfolio.source.csv.nulls)
        texts.append(f"{said} AS {_named('text', name)}")
        typed.append(f"{_typed(value, kind, delivery, portfolio)} AS {_named('typed', name)}")
        fits.append(f"{_fit(name)} AS {quoted(name)}")
        entries = losses if name == "label_known_at" else faults
        entries += _entries(value, kind, portfolio, is_computed=is_computed)
    faults += _missing(kinds, portfolio)
    if "transaction_id" not in kinds:
        fits.append("NULL::VARCHAR AS transaction_id")
    stated = _named("text", "label_known_at")
    is_now = "false"
    if "label_known_at" in kinds:  # it says a time that cannot be: then it is known when it came
        is_now = f"({stated} IS NOT NULL AND ({_fit('label_known_at')}) IS NULL)"
    else:
        fits.append("NULL::TIMESTAMPTZ AS label_known_at")
    raw = RawRow(delivery)
    return (
        f"CREATE OR REPLACE TABLE checked AS WITH given AS ("
        f"SELECT {quoted(PLACE)} AS place, {', '.join(firsts)} FROM source"
        f"), texts AS (SELECT *, {', '.join(texts)} FROM given"
        f"), typed AS (SELECT *, {', '.join(typed)} FROM texts"
        f"), fit AS (SELECT place, {', '.join(fits)}, {is_now} AS is_now, "
        f"{joined(faults)} AS faults, {joined(losses)} AS losses FROM typed) "
        f'SELECT fit.*, {raw.text} AS "row", {raw.digest} AS row_digest '
        f"FROM fit JOIN raw ON raw.{quoted(PLACE)} = fit.place"
    )


def _named(what: str, name: str) -> str:
    return quoted(f"{what}:{name}")


def _typed(value: Value, kind: Kind, delivery: Delivery, portfolio: Portfolio) -> str:
    """The value in our type; a day alone, where a label is known, is over."""
    name = value.ours
    given = _named("text" if value.kind == "VARCHAR" else "given", name)
    if kind == "text":
        text = _named("text", name)
        return FORMS[name](text, value.codes) if name in FORMS else text
    if kind == "number":
        form = find_number_format(value, delivery, portfolio)
        return as_number(given, value.kind, form=form or NumberFormat())
    if kind == "flag":
        return as_flag(given, value.kind, values=portfolio.labels.values)
    moment = as_time(given, value.kind, time_format=portfolio.source.time_format)
    if portfolio.source.time_format in EPOCH_UNITS:
        moment = f"coalesce({moment}, {as_time(given, value.kind)})"
    return end_of_day(moment, given, value.kind) if name == "label_known_at" else moment


def _fit(name: str) -> str:
    """The value, null where a label would be known after now."""
    typed = _named("typed", name)
    if name != "label_known_at":
        return typed
    return f"CASE WHEN {typed} <= getvariable('now') THEN {typed} END"


def _entries(value: Value, kind: Kind, portfolio: Portfolio, *, is_computed: bool) -> list[Entry]:
    """What may be wrong with one value for itself."""
    name, text = value.ours, _named("text", value.ours)
    typed = _named("typed", name)
    is_lost = f"{text} IS NOT NULL AND {typed} IS NULL"
    if name == "is_fraud" and portfolio.labels.values.unlabelled:
        words = ", ".join(literal(word.lower()) for word in portfolio.labels.values.unlabelled)
        is_lost += f" AND lower({text}) NOT IN ({words})"
    found = [entry(name, WRONG_TYPE[kind], shown_text(text), is_lost)]
    if is_computed:
        found.append(uncomputed(name, value.said))
    if name == "label_known_at":  # the end of today is no time to come
        is_ahead = f"{typed} > getvariable('now') + INTERVAL 1 DAY"
        found.append(entry(name, AHEAD, shown(typed, "time"), is_ahead))
    return found


def _missing(kinds: dict[str, Kind], portfolio: Portfolio) -> list[Entry]:
    """A label says which payment it is of: by its id, or by all columns of `match`."""
    has_id = "transaction_id" in kinds
    no_id = f"{_named('text', 'transaction_id')} IS NULL" if has_id else "true"
    names = portfolio.labels.match or ["transaction_id"]
    texts = {name: _named("text", name) for name in names}
    return [
        entry(name, MISSING, "''", f"{no_id} AND {text} IS NULL") for name, text in texts.items()
    ]


def match_payments(
    connection: duckdb.DuckDBPyConnection,
    stored: pyarrow.dataset.Dataset | None,
    portfolio: Portfolio,
    *,
    payments: Collection[int],
    now: datetime,
) -> None:
    """Make `matched`, the one payment of each label with when it is known, and `states`.

    `payments` are the deliveries that came in this run: a label of another payment is known now.
    """
    names = [] if stored is None else stored.schema.names
    connection.execute(
        "CREATE TABLE found (place BIGINT, transaction_id VARCHAR, "
        "event_time TIMESTAMPTZ, is_own BOOLEAN, is_exact BOOLEAN)"
    )
    if stored is not None:
        connection.register("payments", stored)
        own = f"list_contains([{', '.join(map(str, payments))}]::BIGINT[], p.delivery)"
        is_own = f"coalesce({own}, false)" if "delivery" in names else "false"
        picked = f"SELECT c.place, p.transaction_id, p.event_time, {is_own}"
        usable = "c.faults IS NULL AND c.is_fraud IS NOT NULL"
        connection.execute(
            f"INSERT INTO found {picked}, false FROM checked c "
            f"JOIN payments p USING (transaction_id) WHERE {usable}"
        )
        if conditions := _conditions(connection, portfolio, names):
            connection.execute(
                f"INSERT INTO found {picked}, {_is_exact(portfolio)} FROM checked c "
                f"JOIN payments p ON {conditions} WHERE {usable} AND c.transaction_id IS NULL"
            )
    now_sql = f"{literal(now.isoformat())}::TIMESTAMPTZ"
    early = "c.label_known_at < f.event_time"
    told = f"{shown('c.label_known_at', 'time')} || ', before event_time ' || " + shown(
        "f.event_time", "time"
    )
    came_late = f"NOT f.is_own OR c.is_now OR coalesce({early}, false)"
    connection.execute(
        "CREATE TABLE matched AS WITH fitting AS (SELECT *, count(*) OVER same AS payments, "
        "count(*) FILTER (is_exact) OVER same AS exact_ones FROM found "
        "WINDOW same AS (PARTITION BY place)) "
        "SELECT c.place, f.transaction_id, c.is_fraud, coalesce("
        f"{early}, false) AS is_early, {told} AS told, "
        f"CASE WHEN NOT coalesce({early}, false) THEN c.label_known_at END AS stated, "
        f"CASE WHEN {came_late} THEN {now_sql} "
        f"ELSE {matured(portfolio, 'f.event_time', now=now)} END AS otherwise "
        "FROM checked c JOIN fitting f USING (place) "
        "WHERE f.payments = 1 OR (f.is_exact AND f.exact_ones = 1)"
    )
    connection.execute(
        "CREATE TABLE states AS SELECT c.place, CASE "
        f"WHEN c.faults IS NOT NULL THEN {literal(FAILED)} "
        "WHEN c.is_fraud IS NULL OR m.place IS NOT NULL THEN NULL "
        f"WHEN f.place IS NOT NULL THEN {literal(SEVERAL)} ELSE {literal(WAITING)} END AS state "
        "FROM checked c LEFT JOIN matched m USING (place) "
        "LEFT JOIN (SELECT DISTINCT place FROM found) f USING (place)"
    )


def _conditions(
    connection: duckdb.DuckDBPyConnection, portfolio: Portfolio, names: Collection[str]
) -> str:
    """SQL for whether a label and a payment say the same; none where that is not to be told."""
    match = portfolio.labels.match
    if not match or any(name not in names for name in match):
        return ""
    conditions = []
    for name in match:
        ours, theirs, kind = f"c.{quoted(name)}", f"p.{quoted(name)}", portfolio.kind(name)
        if name == "event_time":
            conditions.append(f"{ours}::DATE = {theirs}::DATE")
            first, last = first_row(
                connection, "SELECT min(event_time)::VARCHAR, max(event_time)::VARCHAR FROM checked"
            )
            if first:  # only so much of the lake is read
                since = f"{literal(first)}::TIMESTAMPTZ - INTERVAL 2 DAY"
                until = f"{literal(last)}::TIMESTAMPTZ + INTERVAL 2 DAY"
                conditions.append(f"{theirs} BETWEEN {since} AND {until}")
        elif kind == "number":
            if name == "amount" and portfolio.source.amount_unit == "minor":
                currency = "p.currency" if "currency" in names else "NULL::VARCHAR"
                ours = as_major_units(ours, currency)
            conditions.append(
                f"round({ours} * {PER_UNIT})::HUGEINT = round({theirs} * {PER_UNIT})::HUGEINT"
            )
        else:
            conditions.append(f"{ours} = {theirs}")
    return " AND ".join(conditions)


def _is_exact(portfolio: Portfolio) -> str:
    """SQL for whether a label says the very moment of a payment, and not its day alone."""
    if "event_time" not in portfolio.labels.match:
        return "false"
    is_moment = "date_trunc('day', c.event_time) <> c.event_time"
    return f"{is_moment} AND c.event_time = p.event_time"


def tell_words(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """What the labels say that the ledger has not, in the ledger's columns.

    A word with a stated time is known by it, one without by its verdict alone. Of two words of one
    moment the one further down in the file stands, a microsecond later; one without a time stands
    after all that was said before it.
    """
    return connection.sql(NEW_WORDS).to_arrow_table()


NEW_WORDS = """
    WITH words AS (
        SELECT transaction_id, is_fraud, stated, min(otherwise) AS otherwise, min(place) AS place
        FROM matched GROUP BY transaction_id, is_fraud, stated
    ), placed AS (
        SELECT *, to_microseconds(row_number() OVER (
            PARTITION BY transaction_id, coalesce(stated, otherwise) ORDER BY place) - 1) AS behind
        FROM words
    ), opposed AS (
        SELECT transaction_id, is_fraud, max(known_at) + to_microseconds(1) AS after
        FROM ledger WHERE source = 'source' GROUP BY transaction_id, is_fraud
    ), timed AS (
        SELECT p.transaction_id, p.is_fraud, p.place, p.stated + p.behind AS stated,
               coalesce(p.stated, greatest(p.otherwise, o.after)) + p.behind AS known_at
        FROM placed p LEFT JOIN opposed o
            ON o.transaction_id = p.transaction_id AND o.is_fraud <> p.is_fraud
    )
    SELECT transaction_id, is_fraud, known_at, 'source' AS source FROM timed t
    WHERE NOT EXISTS (
        SELECT 1 FROM ledger l WHERE l.source = 'source'
        AND l.transaction_id = t.transaction_id AND l.is_fraud = t.is_fraud
        AND (t.stated IS NULL OR l.known_at = t.stated))
    ORDER BY place
"""
